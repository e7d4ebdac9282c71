"""How far a run is, as it is shown: its stages, its running trials, and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydarts.study.forecast import Forecast, Range, StageState, forecast


@dataclass(frozen=True)
class Facts:
    """What is shown of a running trial beside its epochs. `figure`: the last one, in words."""

    settings: str = ""
    figure: str = ""
    health: str = ""
    host: str = ""
    gpus: float = 0.0


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs now. `left`: its seconds to its last epoch, if it is not stopped; None: not known."""

    id: str
    epoch: int
    epochs: int
    facts: Facts
    left: float | None


@dataclass(frozen=True)
class StageProgress:
    """A stage. `share`: of the epochs that it will probably run, those that have run. `counts`: trials by status."""

    name: str
    total: int
    counts: Mapping[str, int]
    share: float
    left: Range | None
    done: bool


@dataclass(frozen=True)
class Progress:
    """A run. `at_work`: the stage whose trials run; None: none does. `notes`: further lines, each with its name."""

    title: str
    stages: Sequence[StageProgress]
    at_work: str | None
    running: Sequence[RunningTrial]
    time_left: Forecast
    notes: Mapping[str, str]


def progress_of(
    title: str,
    states: Sequence[StageState],
    counts: Mapping[str, Mapping[str, int]],
    facts: Mapping[str, Facts],
    notes: Mapping[str, str],
    known: Forecast | None = None,
) -> Progress:
    """Returns what is shown of stages as they stand. `counts`: of each stage, trials by status. `facts`: of each trial
    that runs, by its name. `known`: a forecast that was made a moment ago; None: it is made now.
    """
    told = forecast(states) if known is None else known
    at_work = next((stage for stage in states if not stage.done), None)
    shown = [
        StageProgress(
            stage.name,
            stage.total,
            counts.get(stage.name, {}),
            _share(stage, told.epochs.get(stage.name, 0.0)),
            told.stages.get(stage.name),
            stage.done,
        )
        for stage in states
    ]
    running = [
        RunningTrial(trial.name, trial.epochs, trial.most, facts.get(trial.name, Facts()), told.trials.get(trial.name))
        for trial in (at_work.trials if at_work is not None else ())
        if trial.state == "running"
    ]
    return Progress(title, shown, None if at_work is None else at_work.name, running, told, notes)


def _share(stage: StageState, expected: float) -> float:
    if stage.done:
        return 1.0
    ran = sum(trial.epochs for trial in stage.trials)
    return min(ran / expected, 1.0) if expected > 0 else 0.0
