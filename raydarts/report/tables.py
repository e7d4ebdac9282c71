"""What a run found, as tables for a terminal and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.runs import results
from raydarts.runs.budget import UNITS, budget_report
from raydarts.runs.directory import RunDirectory
from raydarts.runs.faults import WORDS
from raydarts.runs.left import clock, left
from raydarts.runs.reading import Damage
from raydarts.runs.stages import EVALUATE, SEARCH
from raydarts.storage.place import Place
from raydarts.study.objectives import Score
from raydarts.terminal import in_lines, line, paragraph


def report_of(path: Place, damage: Damage | None = None) -> dict[str, Any]:
    """The report of a run directory as JSON-able data. Raises `RunError` where `path` is no run.

    What is damaged is noted in `damage` and left out, here and in all that follows; without it, it is raised.
    """
    return results.report_json(RunDirectory.open(path, damage))


def status_json(path: Place, damage: Damage | None = None) -> dict[str, Any]:
    """Trials and evaluations by status, the best trial so far, and while it runs how long its stage still takes."""
    found = report_of(path, damage)
    best = _best(found)
    return {
        "name": found["name"],
        "status": found["status"],
        "trials": _statuses(found["trials"]),
        "evaluations": _statuses(found["evaluations"]),
        "stages": {stage["name"]: _statuses(stage["evaluations"]) for stage in _others(found)},
        "budget": budget_report(RunDirectory.open(path, damage)),
        "left": left(RunDirectory.open(path, damage)),
        "best_trial": best and {"id": best["id"], **best["metrics"]},
        "damaged": [] if damage is None else damage.problems,
    }


def _statuses(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(row["status"] for row in rows))


def _best(found: Mapping[str, Any]) -> dict[str, Any] | None:
    score = Score(**found["search_score"])
    whole = [trial for trial in found["trials"] if trial["status"] != "damaged"]
    known = [trial for trial in whole if score.of(trial["metrics"]) is not None]
    if not known:
        return None
    return dict(max(known, key=lambda trial: score.sign * trial["metrics"][score.metric]))


def status_table(path: Place, damage: Damage | None = None) -> RenderableType:
    """The status for a terminal, with the command that goes on where one is needed."""
    found = status_json(path, damage)
    table = Table(title=f"{found['name']}: {found['status']}")
    columns = ["completed", "stopped", "failed", "running", "pending", "halted"]
    columns += ["damaged"] if found["damaged"] else []
    table.add_column("stage", overflow="fold", min_width=19)
    for column in columns:
        table.add_column(column)
    stages = {"trials": found["trials"], "evaluations": found["evaluations"], **found["stages"]}
    for stage, counts in stages.items():
        table.add_row(stage, *(str(counts.get(key, 0)) for key in columns))
    lines: list[RenderableType] = [table, *budget_lines(found["budget"])]
    if found["left"] is not None:
        seconds = found["left"]["seconds"]
        told = "time left unknown until a trial has ended" if seconds is None else f"about {clock(seconds)} left"
        lines.append(line(f"{found['left']['stage']}: {told}"))
    if found["best_trial"]:
        lines.append(line(f"best so far: trial {found['best_trial']['id']}"))
    if found["status"] not in ("completed", "running"):
        more = " --set budget.gpu_hours=HOURS (or whichever limit is spent)" if found["status"] == "halted" else ""
        lines.append(line(f"go on with: raydarts resume {path}{more}"))
    return Group(*lines)


def budget_lines(budget: Mapping[str, Any]) -> list[RenderableType]:
    """What is spent, of what, and what is still needed at most: only where there is a budget."""
    if not budget["limits"]:
        return []
    spent = ", ".join(
        f"{budget['spent'][unit]:.4g} of {limit:g} {UNITS[unit]}" for unit, limit in budget["limits"].items()
    )
    lines: list[RenderableType] = [line(f"budget spent: {spent}")]
    for stage in budget["needed"]:
        if stage["epochs"]:
            told = [
                f"{stage[unit]:.4g} {UNITS[unit]}" for unit in ("gpu_hours", "cpu_hours") if stage[unit] is not None
            ]
            hours = ", ".join(told) or "hours unknown until an epoch of it has run"
            lines.append(line(f"{stage['stage']} still needs at most {stage['epochs']} epochs: {hours}"))
    return lines


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _spread(mean: Any, std: Any, digits: int) -> str:
    if not isinstance(mean, int | float):
        return "-"
    told = f"{mean:.{digits}f}"
    return f"{told} ± {std:.{digits}f}" if isinstance(std, int | float) else f"{told} (n=1, no spread)"


def ranking_table(found: Mapping[str, Any], stage: Mapping[str, Any] | None = None) -> RenderableType:
    """Retrained genotypes, best validation mean first; means ± sample standard deviation over evaluation seeds.

    `stage`: one of the report's other stages, in place of `evaluate`.
    """
    ranking = found["ranking"] if stage is None else stage["ranking"]
    where = "" if stage is None else f"{stage['name']}: "
    if not ranking:
        return line(f"{where}No genotype has been retrained (yet).")
    score = Score(**found["score"])
    better = "" if score.share else f"; {score.direction}"
    told = f"ranked by {score.words} (mean ± std over evaluation seeds{better})"
    table = Table(title=f"{where}Retrained genotypes, {told}")
    for column in ("rank", "genotype", "validation", "test (not used to rank)", "n", "skips", "found by trials"):
        table.add_column(column)
    evidence = {entry["id"]: entry for entry in found["genotypes"]}
    skips = {trial["genotype_id"]: trial["skips"] for trial in found["trials"] if trial.get("genotype_id")}
    for rank, row in enumerate(ranking, start=1):
        trials = evidence.get(row["genotype"], {}).get("trials", [])
        table.add_row(
            str(rank),
            row["genotype"],
            _spread(row["validation_mean"], row["validation_std"], score.digits),
            _spread(row["test_mean"], row["test_std"], score.digits),
            str(row["n"]),
            _skips(skips.get(row["genotype"], {})),
            ", ".join(trials),
        )
    return table


def _others(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The retraining stages but `evaluate`."""
    return [stage for stage in found["stages"] if stage["name"] != EVALUATE]


def rankings(found: Mapping[str, Any]) -> list[RenderableType]:
    """A table for each retraining stage, in the order of work; of a run without any, `evaluate`'s."""
    if not found["stages"]:
        return [ranking_table(found)]
    return [ranking_table(found, None if stage["name"] == EVALUATE else stage) for stage in found["stages"]]


def baselines_text(found: Mapping[str, Any]) -> RenderableType | None:
    """What the best genotype is to beat, and by how much it does; None where the evaluations measured no such thing."""
    if not found["baselines"]:
        return None
    score = Score(**found["score"])
    best = found["ranking"][0]["validation_mean"] if found["ranking"] else None
    lines = []
    for name, parts in found["baselines"].items():
        told = ", ".join(f"{part} {value:.{score.digits}f}" for part, value in parts.items())
        lines.append(f"baseline {name}: {score.measure} {told}{_margin(score, best, parts.get('validation'))}")
    return in_lines(lines)


def _margin(score: Score, best: float | None, baseline: float | None) -> str:
    if best is None or baseline is None:
        return ""
    if not score.better(best, baseline):
        return "; the best genotype does NOT beat it"
    low, high = sorted((best, baseline))
    return f"; the best genotype's {score.words} is {high - low:.{score.digits}f} better, a factor of {high / low:.2f}"


def _skips(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _swept(trials: Iterable[Mapping[str, Any]]) -> list[str]:
    names = {name: None for trial in trials for name in trial.get("choices") or {}}
    return list(names)


def trials_table(found: Mapping[str, Any]) -> RenderableType:
    """Every search trial: what was chosen for it, what it measured, its genotype."""
    score = Score(**found["search_score"])
    names = _swept(found["trials"])
    table = Table(title="Search trials (one search seed each unless search.seed is swept)")
    for column in (
        "trial",
        "status",
        *(name.removeprefix("search.") for name in names),
        score.metric,
        "skips",
        "genotype",
    ):
        table.add_column(column, overflow="fold")
    for trial in found["trials"]:
        choices = trial.get("choices") or {}
        table.add_row(
            trial["id"],
            trial["status"],
            *(str(choices.get(name, "-")) for name in names),
            _number(trial["metrics"].get(score.metric), score.digits),
            _skips(trial["skips"]),
            str(trial.get("genotype_id") or "-"),
        )
    return table


def failures(found: Mapping[str, Any]) -> RenderableType | None:
    """What failed and why, and what befell trials that were tried again; None: nothing."""
    others = [
        {**row, "id": f"{stage['name']} {row['genotype']} seed {row['seed']}"}
        for stage in _others(found)
        for row in stage["evaluations"]
    ]
    rows = [row for row in [*found["trials"], *found["evaluations"], *others] if row["status"] == "failed"]
    names = [row.get("id") or f"{row['genotype']} seed {row['seed']}" for row in rows]
    lines = [f"failed: {name}: {row.get('error')}" for name, row in zip(names, rows, strict=True)]
    lines += [f"fault: {fault_name(fault)}: {WORDS[fault['what']]}" for fault in found.get("faults", ())]
    lines += [f"left out: {problem}" for problem in found.get("damaged", ())]
    return in_lines(lines) if lines else None


def fault_name(fault: Mapping[str, Any]) -> str:
    """Which attempt of which trial a fault befell, where, and after how much."""
    trial = fault["trial"] if fault["stage"] == SEARCH else f"{fault['stage']} {fault['trial']}"
    return f"{trial}, attempt {fault['attempt']}, after {fault['epochs']} epochs, on {fault['host']}"


def summary(path: Place) -> RenderableType:
    """What `sweep` prints at its end: the ranking, what failed, where the rest is."""
    found = report_of(path, Damage())
    parts = [*rankings(found), baselines_text(found), failures(found), line(f"all of it: raydarts report {path}")]
    return Group(*(part for part in parts if part is not None))


def full(path: Place, damage: Damage | None = None) -> RenderableType:
    """The whole report for a terminal."""
    found = report_of(path, damage)
    question = paragraph(found["question"]) if found["question"] else None
    parts = [question, trials_table(found), *rankings(found), baselines_text(found), failures(found)]
    return Group(*(part for part in parts if part is not None))


def facts_table(known: Mapping[str, Any]) -> RenderableType:
    """What `show` prints beside the drawing."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column()
    table.add_row("genotype", known["id"])
    table.add_row("space", known["space"])
    table.add_row("parameters", f"{known['parameters']:,} (standard evaluation network, auxiliary head not counted)")
    table.add_row("FLOPs", f"{known['flops']:,} (2 per multiply-add; {known['macs']:,} multiply-adds)")
    table.add_row("skips", _skips(known["skips"]))
    if "drawing" in known:
        table.add_row("drawing", known["drawing"])
    return table
