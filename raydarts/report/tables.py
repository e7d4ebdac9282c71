"""What a run found, as tables for a terminal and as JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.place import Place


def report_of(path: Place) -> dict[str, Any]:
    """The report of a run directory as JSON-able data. Raises `RunError` where `path` is no run."""
    return results.report_json(RunDirectory.open(path))


def status_json(path: Place) -> dict[str, Any]:
    """Trials and evaluations by status, and the best trial so far."""
    found = report_of(path)
    best = _best(found)
    return {
        "name": found["name"],
        "status": found["status"],
        "trials": dict(Counter(trial["status"] for trial in found["trials"])),
        "evaluations": dict(Counter(evaluation["status"] for evaluation in found["evaluations"])),
        "best_trial": best and {"id": best["id"], **best["metrics"]},
    }


def _metric(found: Mapping[str, Any]) -> tuple[str, str]:
    stage = found["spec"].get("sweep", {})
    return stage.get("metric", "validation_accuracy"), stage.get("mode", "max")


def _best(found: Mapping[str, Any]) -> dict[str, Any] | None:
    metric, mode = _metric(found)
    known = [trial for trial in found["trials"] if isinstance(trial["metrics"].get(metric), int | float)]
    if not known:
        return None
    pick = max if mode == "max" else min
    return dict(pick(known, key=lambda trial: trial["metrics"][metric]))


def status_table(path: Place) -> RenderableType:
    """The status for a terminal, with the command that goes on where one is needed."""
    found = status_json(path)
    table = Table(title=f"{found['name']}: {found['status']}")
    for column in ("stage", "completed", "stopped", "failed", "running", "pending"):
        table.add_column(column)
    for stage in ("trials", "evaluations"):
        counts = found[stage]
        table.add_row(
            stage, *(str(counts.get(key, 0)) for key in ("completed", "stopped", "failed", "running", "pending"))
        )
    lines: list[RenderableType] = [table]
    if found["best_trial"]:
        lines.append(Text(f"best so far: trial {found['best_trial']['id']}"))
    if found["status"] not in ("completed", "running"):
        lines.append(Text(f"go on with: raydarts resume {path}"))
    return Group(*lines)


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _spread(mean: Any, std: Any) -> str:
    if not isinstance(mean, int | float):
        return "-"
    return f"{mean:.4f} ± {std:.4f}" if isinstance(std, int | float) else f"{mean:.4f} (n=1, no spread)"


def ranking_table(found: Mapping[str, Any]) -> RenderableType:
    """Retrained genotypes, best validation mean first; means ± sample standard deviation over evaluation seeds."""
    if not found["ranking"]:
        return Text("No genotype has been retrained (yet).")
    table = Table(title="Retrained genotypes, ranked by validation accuracy (mean ± std over evaluation seeds)")
    for column in ("rank", "genotype", "validation", "test (not used to rank)", "n", "skips", "found by trials"):
        table.add_column(column)
    evidence = {entry["id"]: entry for entry in found["genotypes"]}
    skips = {trial["genotype_id"]: trial["skips"] for trial in found["trials"] if trial.get("genotype_id")}
    for rank, row in enumerate(found["ranking"], start=1):
        trials = evidence.get(row["genotype"], {}).get("trials", [])
        table.add_row(
            str(rank),
            row["genotype"],
            _spread(row["validation_mean"], row["validation_std"]),
            _spread(row["test_mean"], row["test_std"]),
            str(row["n"]),
            _skips(skips.get(row["genotype"], {})),
            ", ".join(trials),
        )
    return table


def _skips(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _swept(trials: Iterable[Mapping[str, Any]]) -> list[str]:
    names = {name: None for trial in trials for name in trial.get("choices") or {}}
    return list(names)


def trials_table(found: Mapping[str, Any]) -> RenderableType:
    """Every search trial: what was chosen for it, what it measured, its genotype."""
    metric, _ = _metric(found)
    names = _swept(found["trials"])
    table = Table(title="Search trials (one search seed each unless search.seed is swept)")
    for column in ("trial", "status", *(name.removeprefix("search.") for name in names), metric, "skips", "genotype"):
        table.add_column(column, overflow="fold")
    for trial in found["trials"]:
        choices = trial.get("choices") or {}
        table.add_row(
            trial["id"],
            trial["status"],
            *(str(choices.get(name, "-")) for name in names),
            _number(trial["metrics"].get(metric)),
            _skips(trial["skips"]),
            str(trial.get("genotype_id") or "-"),
        )
    return table


def failures(found: Mapping[str, Any]) -> RenderableType | None:
    """What failed and why, or None."""
    rows = [row for row in [*found["trials"], *found["evaluations"]] if row["status"] == "failed"]
    if not rows:
        return None
    names = [row.get("id") or f"{row['genotype']} seed {row['seed']}" for row in rows]
    return Text("\n".join(f"failed: {name}: {row.get('error')}" for name, row in zip(names, rows, strict=True)))


def summary(path: Place) -> RenderableType:
    """What `sweep` prints at its end: the ranking, what failed, where the rest is."""
    found = report_of(path)
    parts = [ranking_table(found), failures(found), Text(f"all of it: raydarts report {path}")]
    return Group(*(part for part in parts if part is not None))


def full(path: Place) -> RenderableType:
    """The whole report for a terminal."""
    found = report_of(path)
    question = Text(found["question"]) if found["question"] else None
    parts = [question, trials_table(found), ranking_table(found), failures(found)]
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
