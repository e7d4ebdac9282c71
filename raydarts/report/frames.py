"""A run's results as pandas DataFrames. docs/python.md describes every column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from raydarts.report.export import table
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import read_promotion
from raydarts.study.history import Decision, Fork, History, decided_in, name_of, others_of
from raydarts.study.objectives import score_of
from raydarts.study.ranking import evaluation_rows, ranking
from raydarts.study.stages import SEARCH, stages_of

if TYPE_CHECKING:
    import pandas

_DECISIONS = ("stage", "id", "epoch", "decision", "reason")


def _frame(rows: list[dict[str, object]], columns: tuple[str, ...] = ()) -> pandas.DataFrame:
    import pandas  # noqa: PLC0415 - half a second

    return pandas.DataFrame(rows, columns=None if rows else list(columns))


def trials(run: RunDirectory) -> pandas.DataFrame:
    """Returns a row for each trial of each stage, the searches first. The columns are those of `raydarts export`."""
    return _frame(table(run), ("run", "stage", "id", "status"))


def epochs(run: RunDirectory) -> pandas.DataFrame:
    """Returns a row for each epoch of each trial. The columns are those of `raydarts export --epochs`."""
    return _frame(table(run, epochs=True), ("run", "stage", "id", "status"))


def ranked(run: RunDirectory) -> pandas.DataFrame:
    """Returns a row for each retrained genotype of each stage, best first: `stage`, `rank`, `genotype`, the means and
    sample standard deviations of validation and test score over evaluation seeds, and their number `n`.
    """
    score = score_of(run.description())
    rows: list[dict[str, object]] = []
    for stage in stages_of(run.description()):
        listed = ranking(evaluation_rows(results.retrained(run, stage.name), score), score)
        for rank, row in enumerate(listed, start=1):
            figures = {key: value for key, value in row.items() if key != "random_cell"}  # of a ranking there is none
            rows.append({"stage": stage.name, "rank": rank, **figures})
    return _frame(
        rows, ("stage", "rank", "genotype", "validation_mean", "validation_std", "test_mean", "test_std", "n")
    )


def decisions(run: RunDirectory) -> pandas.DataFrame:
    """Returns a row for each decision: of schedulers, halts and stopping rules on trials, and who was promoted.

    `id` is a trial, or in a stage of retraining a genotype. `decision` is `stop`, `pause`, `fork`, `continue` (of a
    trial that waited), `promote` or `leave out`. `epoch` is the trial's epoch. `reason` is in words, where one is
    known.
    """
    rows = list(_on_trials(run))
    for stage in stages_of(run.description()):
        for entry in read_promotion(run, stage.name) or ():
            decision = "promote" if entry.get("promoted") else "leave out"
            rows.append(
                {
                    "stage": stage.name,
                    "id": entry["id"],
                    "epoch": None,
                    "decision": decision,
                    "reason": entry.get("reason"),
                }
            )
    return _frame(rows, _DECISIONS)


def _on_trials(run: RunDirectory) -> Iterator[dict[str, object]]:
    history = History()
    for event in run.events():
        waiting = {trial.name for trial in history.waiting()}
        history.add(event)
        if event["event"] == "ask":
            continue
        made = dict(others_of(event))
        if event["event"] != "tell":
            made[name_of(int(event["index"]))] = decided_in(event)
        for trial, decision in made.items():
            if decision is not Decision.CONTINUE or trial in waiting:
                yield {
                    "stage": SEARCH,
                    "id": trial,
                    "epoch": history.trials[trial].epoch,
                    "decision": "fork" if isinstance(decision, Fork) else str(decision),
                    "reason": _reason(event, trial, decision),
                }


def _reason(event: Mapping[str, object], trial: str, decision: Decision | Fork) -> str | None:
    if isinstance(decision, Fork):
        return str(decision)
    own = name_of(int(str(event["index"]))) == trial
    return str(event["reason"]) if own and event.get("reason") is not None else None
