"""How far a run is: trials by status, the best so far, the budget, the time left. For a terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table

from raydarts.report.fronts import headline
from raydarts.report.progress import ProgressView, left_in_words
from raydarts.report.shapes import ConfigurationRow, RetrainedRow, RunReport, StatusReport, TrialRow
from raydarts.report.tables import others, rehearsal_line, reported, spread
from raydarts.runs.hours import budget_report
from raydarts.runs.progress import left, progress
from raydarts.runs.reading import Damage
from raydarts.runs.snapshot import RunSnapshot
from raydarts.storage.place import Place
from raydarts.study.budget import UNITS, BudgetReport
from raydarts.study.objectives import SearchScore
from raydarts.terminal import line


def status_json(path: Place, damage: Damage | None = None) -> StatusReport:
    """Returns trials and evaluations by status, the best trial so far, and in a running run the time its stage still
    needs.
    """
    return _status(RunSnapshot.open(path, damage))


def _status(run: RunSnapshot) -> StatusReport:
    report = reported(run)
    best = _best(report)
    return {
        "name": report["name"],
        "status": report["status"],
        "trials": _statuses(report["trials"]),
        "evaluations": _statuses(report["evaluations"]),
        "stages": {stage["name"]: _statuses(stage["evaluations"]) for stage in others(report)},
        "budget": budget_report(run),
        "left": left(run),
        "best_trial": best and {"id": best["id"], **best["metrics"]},
        "configurations": dict(Counter(each["status"] for each in report["configurations"])),
        "best_configuration": _best_configuration(report),
        "front": report["front"],
        "damaged": [] if run.damage is None else run.damage.problems,
    }


def _statuses(rows: Iterable[TrialRow | RetrainedRow]) -> dict[str, int]:
    return dict(Counter(row["status"] for row in rows))


def _best(report: RunReport) -> TrialRow | None:
    score = SearchScore.from_json(report["search_score"])
    whole = [trial for trial in report["trials"] if trial["status"] != "damaged"]
    known = [(trial["order"], trial) for trial in whole if trial["order"] is not None]
    if not known:
        return None
    return max(known, key=lambda pair: score.sign * pair[0])[1]


def _best_configuration(report: RunReport) -> ConfigurationRow | None:
    """Returns the configuration with the best mean, of those whose trials have all ended."""
    score = SearchScore.from_json(report["search_score"])
    ended = ("completed", "stopped")
    known = [each for each in report["configurations"] if each["status"] in ended and each["order"] is not None]
    first = [each for each in known if each["status"] == ended[0]] or known
    return max(first, key=lambda each: score.sign * (each["order"] or 0.0)) if first else None


def status_table(path: Place, damage: Damage | None = None) -> RenderableType:
    """Returns the status for a terminal, with the command to continue if one is needed."""
    return _status_table(path, RunSnapshot.open(path, damage))


def _status_table(path: Place, run: RunSnapshot) -> RenderableType:
    report = _status(run)
    table = Table(title=f"{report['name']}: {report['status']}")
    marked = rehearsal_line(run)
    columns = ["completed", "stopped", "failed", "running", "pending", "halted"]
    columns += ["paused"] if report["trials"].get("paused") else []
    columns += ["damaged"] if report["damaged"] else []
    table.add_column("stage", overflow="fold", min_width=19)
    for column in columns:
        table.add_column(column)
    stages = {"trials": report["trials"], "evaluations": report["evaluations"], **report["stages"]}
    for stage, counts in stages.items():
        table.add_row(stage, *(str(counts.get(key, 0)) for key in columns))
    lines: list[RenderableType] = [*marked, table, *budget_lines(report["budget"])]
    if report["left"] is not None:
        lines.append(line(left_in_words(report["left"])))
    if report["configurations"]:
        words = ", ".join(f"{count} {status}" for status, count in report["configurations"].items())
        lines.append(line(f"configurations: {words}"))
    if report["front"] is not None:
        lines.append(line(headline(report["front"])))
    elif best := report["best_configuration"]:
        mean, n = spread(best["mean"], best["sd"], 4), best["n"]
        lines.append(line(f"best so far: configuration {best['configuration']}, {mean} over {n} search seeds"))
    elif report["best_trial"] and not report["configurations"]:
        lines.append(line(f"best so far: trial {report['best_trial']['id']}"))
    if report["status"] not in ("completed", "running"):
        more = " --set budget.gpu_hours=HOURS (or whichever limit is spent)" if report["status"] == "halted" else ""
        lines.append(line(f"go on with: raydarts resume {path}{more}"))
    return Group(*lines)


def progress_view(path: Place, damage: Damage | None = None) -> RenderableType:
    """Returns what `status --watch` shows in a terminal while a sweep runs; of any other run its status."""
    run = RunSnapshot.open(path, damage)
    if run.description()["kind"] != "sweep" or not run.in_use():
        return _status_table(path, run)
    report = _status(run)
    best, trial = report["best_configuration"], report["best_trial"]
    known = f"configuration {best['configuration']}" if best else f"trial {trial['id']}" if trial else "none yet"
    budget = report["budget"]
    spent = ", ".join(
        f"{budget['spent'][unit]:.4g} of {limit:g} {UNITS[unit]}" for unit, limit in budget["limits"].items()
    )
    notes = {"best so far": known, "budget spent": spent}
    return ProgressView(progress(run, f"{report['name']}: {report['status']}", notes))


def budget_lines(budget: BudgetReport) -> list[RenderableType]:
    """Returns what is used, of what, and what is still needed at most. Only if there is a budget."""
    if not budget["limits"]:
        return []
    spent = ", ".join(
        f"{budget['spent'][unit]:.4g} of {limit:g} {UNITS[unit]}" for unit, limit in budget["limits"].items()
    )
    lines: list[RenderableType] = [line(f"budget spent: {spent}")]
    for stage in budget["needed"]:
        if stage["epochs"]:
            needed = {"gpu_hours": stage["gpu_hours"], "cpu_hours": stage["cpu_hours"]}
            parts = [f"{amount:.4g} {UNITS[unit]}" for unit, amount in needed.items() if amount is not None]
            hours = ", ".join(parts) or "hours unknown until an epoch of it has run"
            lines.append(line(f"{stage['stage']} still needs at most {stage['epochs']} epochs: {hours}"))
    return lines
