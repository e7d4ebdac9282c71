"""A run's results as tables for a terminal and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.genotypes.facts import FACTS, Facts
from raydarts.json_types import items, section
from raydarts.report.answer import answer
from raydarts.report.conclusion import conclusion
from raydarts.report.fitted import TrialTable, members
from raydarts.report.fronts import front_table
from raydarts.report.gather import Run, gathered
from raydarts.report.improvement import baseline_json, from_json, sentences
from raydarts.report.shapes import (
    AnsweredReport,
    ConfigurationRow,
    RunReport,
    StageReport,
    TrialRow,
)
from raydarts.runs import results
from raydarts.runs.faults import WORDS
from raydarts.runs.folders import in_words as decided_in_words
from raydarts.runs.folders import within_of
from raydarts.runs.reading import Damage
from raydarts.runs.rehearsal import WARNING, is_rehearsal
from raydarts.runs.segments import lineage_in_words
from raydarts.runs.snapshot import RunSnapshot
from raydarts.storage.place import Place
from raydarts.study.blame import Ended, blame
from raydarts.study.objectives import Score, SearchScore
from raydarts.study.settings_words import in_words, labelled
from raydarts.study.stages import EVALUATE, SEARCH
from raydarts.terminal import in_lines, line, paragraph


def report_of(path: Place, damage: Damage | None = None) -> RunReport:
    """Returns the report of a run directory as JSON data. Raises `RunError` if `path` is no run.

    Damaged files are noted in `damage` and left out, here and in all functions below. Without `damage` they raise.
    """
    return reported(RunSnapshot.open(path, damage))


def reported(run: RunSnapshot) -> RunReport:
    report = results.report_json(run)
    rows = [section(row) for row in items(report["evaluations"])]
    cells = baseline_json(rows, Score.from_json(section(report["score"])))
    return cast(RunReport, {**report, "random_cells": cells})


def answered(path: Place, damage: Damage | None = None) -> AnsweredReport:
    """Returns the report with the answer to the run's question (`report/answer.py`)."""
    run = RunSnapshot.open(path, damage)
    known = answer(gathered(run))
    return {**reported(run), "answer": None if known is None else known.to_json()}


def rehearsal_line(run: RunSnapshot) -> list[RenderableType]:
    """Says of a rehearsal that it is none of the real sweep's runs."""
    description = run.description()
    return [line(f"{description['name']} is {WARNING}")] if is_rehearsal(description) else []


def _number(value: object, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def spread(mean: object, std: object, digits: int) -> str:
    if not isinstance(mean, int | float):
        return "-"
    text = f"{mean:.{digits}f}"
    return f"{text} ± {std:.{digits}f}" if isinstance(std, int | float) else f"{text} (n=1, no spread)"


def ranking_table(report: RunReport, stage: StageReport | None = None) -> RenderableType:
    """Returns retrained genotypes, best validation mean first: means ± sample standard deviation over evaluation seeds.

    `stage` is another of the report's stages instead of `evaluate`.
    """
    ranking = report["ranking"] if stage is None else stage["ranking"]
    cells = report["random_cells"]["ranking"] if stage is None and report["random_cells"] else []
    where = "" if stage is None else f"{stage['name']}: "
    if not ranking:
        return line(f"{where}No genotype has been retrained (yet).")
    score = Score(**report["score"])
    better = "" if score.share else f"; {score.direction}"
    title = f"ranked by {score.words} (mean ± std over evaluation seeds{better})"
    table = Table(title=f"{where}Retrained genotypes, {title}")
    for column in ("rank", "genotype", "validation", "test (not used to rank)", "n", "skips", "found by trials"):
        table.add_column(column)
    evidence = {entry["id"]: entry for entry in report["genotypes"]}
    skips = {trial["genotype_id"]: trial["skips"] for trial in report["trials"] if trial.get("genotype_id")}
    drawn = {str(each["id"]): section(each["skips"]) for each in map(section, items(report["promotion"])) if cells}
    for rank, row in [*enumerate(ranking, start=1), *(("random cell", row) for row in cells)]:
        trials = evidence[row["genotype"]]["trials"] if row["genotype"] in evidence else []
        table.add_row(
            str(rank),
            row["genotype"],
            spread(row["validation_mean"], row["validation_std"], score.digits),
            spread(row["test_mean"], row["test_std"], score.digits),
            str(row["n"]),
            _skips(skips.get(row["genotype"]) or cast(Mapping[str, int], drawn.get(row["genotype"], {}))),
            "drawn at random" if row["random_cell"] else ", ".join(trials),
        )
    known = report["noise"] if stage is None else stage["noise"]
    return table if known is None else Group(table, *map(paragraph, known["words"]))


def others(report: RunReport) -> list[StageReport]:
    """Returns the retraining stages except `evaluate`."""
    return [stage for stage in report["stages"] if stage["name"] != EVALUATE]


def rankings(report: RunReport) -> list[RenderableType]:
    """Returns a table for each retraining stage, in the order of work. Without stages it is `evaluate`'s."""
    if not report["stages"]:
        return [ranking_table(report)]
    return [ranking_table(report, None if stage["name"] == EVALUATE else stage) for stage in report["stages"]]


def sureness(report: RunReport) -> RenderableType | None:
    """Returns how sure the first place of `evaluate` is, and the seeds that were added for it. None: nobody asked."""
    if not report["allocation"]:
        return None
    last = report["allocation"][-1]
    added = sum(len(entry["add"]) for entry in report["allocation"])
    return line(f"{decided_in_words(last, within_of(report['spec']))} (evaluation seeds added so far: {added})")


def baselines_text(report: RunReport) -> RenderableType | None:
    """Returns what the best genotype must beat and by how much it does, or None if no baseline was measured."""
    if not report["baselines"]:
        return None
    score = Score(**report["score"])
    best = report["ranking"][0]["validation_mean"] if report["ranking"] else None
    lines = []
    for name, parts in report["baselines"].items():
        values = ", ".join(f"{part} {value:.{score.digits}f}" for part, value in parts.items())
        lines.append(f"baseline {name}: {score.measure} {values}{_margin(score, best, parts.get('validation'))}")
    return in_lines(lines)


def improvement_text(report: RunReport) -> RenderableType | None:
    """Returns by how much the genotypes are better than random cells, or None if there are no random cells."""
    cells = report["random_cells"]
    if cells is None:
        return None
    found = [from_json(each) for each in cells["improvement"]]
    if not found:
        done = f"{cells['completed']} of {cells['retrainings']} retrainings of random cells are completed"
        return line(f"improvement over random cells: not known yet ({done})")
    return in_lines(sentences(found, Score(**report["score"])))


def _margin(score: Score, best: float | None, baseline: float | None) -> str:
    if best is None or baseline is None:
        return ""
    if not score.better(best, baseline):
        return "; the best genotype does NOT beat it"
    low, high = sorted((best, baseline))
    return f"; the best genotype's {score.words} is {high - low:.{score.digits}f} better, a factor of {high / low:.2f}"


def _skips(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _swept(trials: Iterable[TrialRow | ConfigurationRow]) -> list[str]:
    names = {name: None for trial in trials for name in trial.get("choices") or {}}
    return list(names)


def configurations_table(report: RunReport) -> RenderableType | None:
    """Returns every configuration: its choices, its mean over search seeds. None without replicates."""
    if not report["configurations"]:
        return None
    score = SearchScore.from_json(report["search_score"])
    names = _swept(report["configurations"])
    title = f"Configurations ({score.words}: mean ± std over search seeds)"
    figures = [score.metric, *(each.metric for each in score.more)]
    table = TrialTable(title, ["configuration", "status"], names, [*figures, "n", "trials"], _members(report))
    for each in report["configurations"]:
        means = each.get("means") or {}
        after = [spread(each["mean"], each["sd"], score.digits)]
        after += [_figure(means.get(objective.metric), objective) for objective in score.more]
        after += [str(each["n"]), ", ".join(each["trials"])]
        table.add([each["configuration"], each["status"]], each["choices"], after)
    return table


def _members(report: RunReport) -> dict[str, str]:
    return members([trial["config"] for trial in report["trials"]])


def trials_table(report: RunReport) -> RenderableType:
    """Returns every search trial: its choices, what it measured, its genotype."""
    score = SearchScore.from_json(report["search_score"])
    names = _swept(report["trials"])
    of = ("configuration", "search seed") if report["configurations"] else ()
    title = "one for each search seed of a configuration" if of else "one search seed each unless search.seed is swept"
    before, after = ["trial", *of, "status"], [*(each.metric for each in score.each), "skips", "health", "genotype"]
    table = TrialTable(f"Search trials ({title})", before, names, after, _members(report))
    for trial in report["trials"]:
        whose = [str(trial["configuration"]), str(trial["search_seed"])] if of else []
        figures = [_figure(trial["metrics"].get(each.metric), each) for each in score.each]
        health = health_text(trial["unhealthy"], trial["reason"], bool(score.health))
        table.add(
            [trial["id"], *whose, trial["status"]],
            trial.get("choices") or {},
            [*figures, _skips(trial["skips"]), health, str(trial.get("genotype_id") or "-")],
        )
    return table


def _figure(value: object, score: Score) -> str:
    """Returns a figure with the decimals of its objective. Large numbers have none."""
    large = isinstance(value, int | float) and abs(value) >= 10_000
    return _number(value, 0 if large else score.digits)


def forks(report: RunReport) -> RenderableType | None:
    """Returns what each trial that went on as a copy of another comes from. None: no trial did.

    The table of trials shows the settings that such a trial had last.
    """
    lines = [
        f"trial {trial['id']}: {lineage_in_words(trial['lineage'])}" for trial in report["trials"] if trial["lineage"]
    ]
    return (
        in_lines(["Went on as a copy of another trial (settings above are the last ones):", *lines]) if lines else None
    )


def health_text(unhealthy: Sequence[str] | None, reason: str | None, judged: bool = True) -> str:
    """Returns what is wrong with a trial's genotype, and why a rule of the sweep stopped it."""
    words = "-" if unhealthy is None or not judged else "; ".join(unhealthy) or "healthy"
    return f"{reason}; now {words}" if reason else words


def ranked_by(report: RunReport) -> list[RenderableType]:
    """Returns what search trials are ranked by, and what became of collapsed ones. Nothing of a single search."""
    if report["kind"] != "sweep" or not report["trials"]:
        return []
    score = SearchScore.from_json(report["search_score"])
    lines = [f"trials are ranked by {score.title}"]
    if score.warning:
        lines = [f"warning: {score.warning}"]
    halted = [trial for trial in report["trials"] if (trial["reason"] or "").startswith("collapsed")]
    if halted:
        named = ", ".join(f"{trial['id']} after epoch {trial['epochs']}" for trial in halted)
        lines.append(f"halted because they had collapsed: {named}")
    for entry in items(report["promotion"]):
        decision = section(entry)
        if decision.get("promoted") and (decision.get("fallback") or decision.get("against")):
            lines.append(
                f"genotype {decision['id']} is retrained though no healthy search ended with it: {decision['reason']}"
            )
    return [in_lines(lines)]


def failures(report: RunReport) -> RenderableType | None:
    """Returns what failed and why, and the faults of trials that were retried. None: nothing."""
    rows = [(trial["id"], trial["status"], trial["error"]) for trial in report["trials"]]
    for stage, evaluations in [
        ("", report["evaluations"]),
        *((f"{stage['name']} ", stage["evaluations"]) for stage in others(report)),
    ]:
        rows += [(f"{stage}{row['genotype']} seed {row['seed']}", row["status"], row["error"]) for row in evaluations]
    blamed = _blamed(report["trials"])
    lines = [f"failed: {name}: {error}{blamed.get(name, '')}" for name, status, error in rows if status == "failed"]
    lines += [f"fault: {fault_name(fault)}: {WORDS[fault['what']]}" for fault in report["faults"]]
    lines += [f"left out: {problem}" for problem in report["damaged"]]
    return in_lines(lines) if lines else None


def _blamed(trials: Sequence[TrialRow]) -> dict[str, str]:
    """Returns, of each failed search, its swept settings and what it stands out by."""
    settings = {row["id"]: labelled(section(row["choices"]), section(row["config"])) for row in trials}
    ended = [
        Ended(settings[row["id"]], row["status"] == "failed")
        for row in trials
        if row["status"] in ("completed", "stopped", "failed")
    ]
    words = {}
    for row in trials:
        if row["status"] == "failed" and (chosen := settings[row["id"]]):
            why = blame(chosen, ended)
            words[row["id"]] = f"; its settings: {in_words(chosen)}" + (f"; {why}" if why else "")
    return words


def fault_name(fault: Mapping[str, object]) -> str:
    """Returns which attempt of which trial had the fault, where, and after how many epochs."""
    trial = fault["trial"] if fault["stage"] == SEARCH else f"{fault['stage']} {fault['trial']}"
    return f"{trial}, attempt {fault['attempt']}, after {fault['epochs']} epochs, on {fault['host']}"


def summary(path: Place, run: RunSnapshot, read: Run) -> RenderableType:
    """Returns what `sweep` prints at its end: the ranking, failures, and where to find the rest.

    `path`: where the run lies, as the user wrote it. `read`: the run, gathered.
    """
    report = reported(run)
    parts = [
        *rehearsal_line(run),
        *rankings(report),
        sureness(report),
        *ranked_by(report),
        front_table(report["front"], SearchScore.from_json(report["search_score"])),
        improvement_text(report),
        baselines_text(report),
        failures(report),
        line(f"all of it: raydarts report {path}"),
        line(""),
        conclusion(run, read),
    ]
    return Group(*(part for part in parts if part is not None))


def full(path: Place, damage: Damage | None = None) -> RenderableType:
    """Returns the whole report for a terminal."""
    run = RunSnapshot.open(path, damage)
    report = reported(run)
    parts = [
        *rehearsal_line(run),
        conclusion(run, gathered(run)),
        configurations_table(report),
        trials_table(report),
        forks(report),
        *ranked_by(report),
        front_table(report["front"], SearchScore.from_json(report["search_score"])),
        *rankings(report),
        improvement_text(report),
        sureness(report),
        baselines_text(report),
        failures(report),
    ]
    return Group(*(part for part in parts if part is not None))


def facts_table(known: Facts) -> RenderableType:
    """Returns what `show` prints beside the drawing."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column()
    table.add_row("genotype", known["id"])
    table.add_row("space", known["space"])
    table.add_row("parameters", f"{known['parameters']:,} (standard evaluation network, auxiliary head not counted)")
    table.add_row("FLOPs", f"{known['flops']:,} (2 per multiply-add; {known['macs']:,} multiply-adds)")
    table.add_row("skips", _skips(known["skips"]))
    for name in FACTS:
        table.add_row(name.replace("_", " "), f"{known[name]:.4g}")  # type: ignore[literal-required]
    if "lineage" in known:
        table.add_row("searched in", known["lineage"])
    if "drawing" in known:
        table.add_row("drawing", known["drawing"])
    return table
