"""Where the trials of each stage of a run lie, and what was decided on who enters a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.json_types import number, section
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.entries import AllocationEntry
from raydarts.storage.place import make_folder
from raydarts.study.stages import EVALUATE, SEARCH, stages_of

_FOLDERS = {"trials": SEARCH, "evaluations": EVALUATE}


def stage_of(trial: TrialDirectory) -> str:
    """The name of the stage that a trial's folder belongs to."""
    return _FOLDERS.get(trial.path.parent.name, trial.path.parent.name)


def run_of(trial: TrialDirectory) -> RunDirectory:
    """The run that a trial's folder lies in."""
    above = trial.path.parent.parent
    return RunDirectory(above if trial.path.parent.name in _FOLDERS else above.parent, trial.damage)


def _folder(stage: str) -> str:
    return "evaluations" if stage == EVALUATE else f"stages/{stage}"


def retraining(run: RunDirectory, stage: str, genotype_id: str, seed: int) -> TrialDirectory:
    """The folder of one retraining of a stage."""
    return TrialDirectory(run.path / _folder(stage) / f"{genotype_id}-seed{seed}", run.damage)


def retrainings(run: RunDirectory, stage: str) -> list[TrialDirectory]:
    """All retrainings of a stage that were begun or are about to be."""
    return run.folders(_folder(stage))


def jobs(run: RunDirectory, description: Mapping[str, object] | None = None) -> list[TrialDirectory]:
    """Every trial of every stage, in the order of work."""
    names = [stage.name for stage in stages_of(run.description() if description is None else description)]
    others = [trial for name in names if name != EVALUATE for trial in retrainings(run, name)]
    rungs = [trial for trial in others if stage_of(trial).startswith("rung-")]
    return [*run.trials(), *rungs, *run.evaluations(), *(trial for trial in others if trial not in rungs)]


ALLOCATION = "allocation.jsonl"
"""Of the stage `evaluate`, the only one to which seeds are added."""


def read_allocation(run: RunDirectory) -> list[AllocationEntry]:
    """What was decided on more evaluation seeds for `evaluate`, a line for each round."""
    entries: list[AllocationEntry] = run.lines(ALLOCATION)
    return entries


def within_of(spec: Mapping[str, object]) -> float:
    """How much worse than the best a first place may be, by a run's spec."""
    return number(section(spec.get(EVALUATE)).get("within")) or 0.0


def in_words(entry: AllocationEntry, within: float) -> str:
    """A decision on more evaluation seeds in one sentence."""
    slack = "" if within == 0 else f", or at most {within:g} worse,"
    belief = f"{entry['first']} is the best{slack} with probability {entry['probability']:.2f}"
    if entry["stop"] is not None:
        return f"{belief}; no seed is added: {entry['stop']}"
    added = " and ".join(f"seed {each['seed']} of {each['genotype']}" for each in entry["add"])
    return f"{belief}; added: {added}"


def _promotion_file(stage: str) -> str:
    return "promotion.json" if stage == EVALUATE else f"stages/{stage}/promotion.json"


def read_promotion(run: RunDirectory, stage: str) -> list[dict[str, object]] | None:
    """What was decided on who enters a stage; None: nothing yet."""
    decisions: list[dict[str, object]] | None = run.read(_promotion_file(stage))
    return decisions


def write_promotion(run: RunDirectory, stage: str, decisions: Sequence[Mapping[str, object]]) -> None:
    make_folder((run.files / _promotion_file(stage)).parent)
    run.write(_promotion_file(stage), list(decisions))
