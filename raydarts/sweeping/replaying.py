"""One sweep over recorded searches: a `Study` decides as in any sweep, and trials report recorded rows."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydarts.config.spec import SweepSettings
from raydarts.execution.executor import Loss, NotNow
from raydarts.execution.recorded import RecordedExecutor, RecordedTrial
from raydarts.json_types import whole
from raydarts.runs.recordings import Recording, Recordings
from raydarts.study.history import Decision, Event, name_of, others_of
from raydarts.study.study import Study
from raydarts.sweeping.recorded_searching import RecordedProposer, Settings, chooser
from raydarts.sweeping.strategy import outcome_of, study_of


@dataclass(frozen=True)
class Plan:
    """What is replayed: the recordings, the sweep's settings, the places for trials, and the seed of all that is drawn.

    Every configuration has all the search seeds of `sweep.replicates`.
    """

    recordings: Recordings
    sweep: SweepSettings
    workers: int
    seed: int = 0

    @property
    def places(self) -> int:
        return min(self.workers, self.sweep.max_concurrent or self.workers)

    def drawn(self, number: int) -> tuple[list[int], list[int]]:
        """The order of configurations in sweep `number`, and the search seed of each where there are no replicates."""
        generator = random.Random(f"{self.seed}/{number}")
        configurations = self.recordings.configurations
        order = list(range(len(configurations)))
        generator.shuffle(order)
        return order, [generator.choice(sorted(each.runs)) for each in configurations]


@dataclass
class ReplayedTrial:
    """A trial of a replayed sweep. `configuration`: its number among the recorded ones. `epoch`: the last that it ran.

    `proposal` counts configurations in the order of the searcher; the trials of one proposal differ in their seed.
    """

    name: str
    proposal: int
    configuration: int
    recording: Recording
    epoch: int = 0
    status: str = "running"
    halted: bool = False

    @property
    def rows(self) -> Sequence[Mapping[str, object]]:
        """The rows that it has reported."""
        return self.recording.rows[: self.epoch]

    @property
    def ended(self) -> bool:
        return self.status != "running"


@dataclass(frozen=True)
class Replayed:
    """A sweep that was replayed. `epochs`: how many its trials ran. `fifo_epochs`: how many they have without any stop.

    `clock`: when it ended, in epochs. `events`: its log.
    """

    number: int
    trials: tuple[ReplayedTrial, ...]
    epochs: int
    fifo_epochs: int
    clock: float
    events: tuple[Event, ...]


class ReplayHandler:
    """Gives the trials of a study to a `RecordedExecutor`, as `StageHandler` does with trials on disk."""

    def __init__(self, study: Study, trial_of: _Trials, pauses: bool, ready: Sequence[str] = ()) -> None:
        self._study = study
        self._trials = trial_of
        self._pauses = pauses
        self._ready = list(ready)
        self._live: dict[str, ReplayedTrial] = {}
        self._paused: set[str] = set()

    def make_good(self) -> None:
        """End the trials on which a stop was decided and whose end was not written."""
        for name in tuple(self._study.history.stopped):
            if not self._trials[name].ended:
                self._end(self._trials[name], "stopped")

    def start(self, key: str) -> RecordedTrial | NotNow:
        while (trial := self._next()) is not None:
            if trial.epoch < trial.recording.epochs:
                self._live[key] = trial
                return RecordedTrial(trial.recording.rows, trial.epoch, trial.recording.whole)
            self._end(trial, "failed")  # it waited after the last epoch that was recorded
        return NotNow.LATER if self._pauses and self._live else NotNow.NEVER

    def _next(self) -> ReplayedTrial | None:
        if self._ready:
            return self._trials[self._ready.pop(0)]
        if (name := self._study.next_ready()) is not None:
            return self._trials[name]
        if (asked := self._study.ask()) is not None:
            return self._trials.add(asked[0], asked[1].config)
        released = None if self._live else self._study.release()
        return None if released is None else self._trials[released]

    def reported(self, key: str, row: Mapping[str, object]) -> bool:
        trial = self._live[key]
        trial.epoch += 1
        if row["done"]:
            return False
        decision = self._study.reported(trial.name, trial.epoch, row)
        if decision is Decision.PAUSE:
            self._paused.add(key)
        self._settle()
        return decision is Decision.CONTINUE

    def lost(self, key: str, loss: Loss, again: bool) -> None:
        self._end(self._live.pop(key), "failed")

    def ended(self, key: str) -> None:
        trial = self._live.pop(key)
        if key in self._paused:
            self._paused.remove(key)
            return
        stopped = self._study.history.trials[trial.name].last is Decision.STOP
        self._end(trial, "stopped" if stopped else "completed")

    def _end(self, trial: ReplayedTrial, status: str) -> None:
        trial.status = status
        trial.halted = status == "stopped" and self._study.history.trials[trial.name].halted
        self._study.ended(trial.name, outcome_of(self._study, trial.name, status, trial.rows))
        self._settle()

    def _settle(self) -> None:
        """End the trials that were stopped while they waited."""
        while self._study.to_stop:
            self._end(self._trials[self._study.to_stop.pop(0)], "stopped")


class _Trials(dict[str, ReplayedTrial]):
    """The trials of a sweep by name."""

    def __init__(self, plan: Plan, proposer: RecordedProposer) -> None:
        super().__init__()
        self._configurations = plan.recordings.configurations
        self._each = plan.sweep.trials_each
        self._proposer = proposer

    def add(self, name: str, config: Mapping[str, object]) -> ReplayedTrial:
        proposal = int(name) // self._each
        number = self._proposer.chosen[proposal]
        self[name] = ReplayedTrial(name, proposal, number, self._configurations[number].runs[whole(config["seed"])])
        return self[name]


def replay(plan: Plan, number: int, events: Sequence[Event] = (), executor: RecordedExecutor | None = None) -> Replayed:
    """Sweep `number` of a plan. Its order of configurations and its search seeds follow from `plan.seed` and `number`.

    `events` is the log of a replay of the same sweep that was cut off: it goes on from there. `executor` has a clock of
    its own. None: an epoch takes one unit of time.
    """
    configurations = plan.recordings.configurations
    order, seeds = plan.drawn(number)
    sweep = plan.sweep.model_copy(update={"seed": plan.sweep.seed + number})
    proposer = RecordedProposer(chooser(sweep, Settings.of(configurations), order), configurations, seeds)
    log: list[Event] = []
    study, pauses = study_of(sweep, proposer, None, plan.recordings.epochs, log.append)
    trials = _Trials(plan, proposer)
    log += events
    ready = _rebuild(study, trials, plan.places, events)
    handler = ReplayHandler(study, trials, pauses, ready)
    handler.make_good()
    executor = executor or RecordedExecutor()
    executor.run(handler, plan.places)
    done = tuple(trials.values())
    return Replayed(
        number,
        done,
        sum(trial.epoch for trial in done),
        sum(trial.recording.epochs for trial in done),
        executor.clock,
        tuple(log),
    )


def _rebuild(study: Study, trials: _Trials, places: int, events: Sequence[Event]) -> list[str]:
    """Take in a log. Returns the trials that run, in the order in which they report next, and those that may go on.

    Who ran is followed through the log as the executor does it: a trial that reported goes to the end of the queue, and
    a free place goes to the first that may go on.
    """
    running: list[str] = []
    ready: list[str] = []
    for event in events:
        study.replay(event, lambda name: ())
        name, decision = name_of(int(event["index"])), event.get("decision")
        if event["event"] == "ask":
            trials.add(name, event["config"])
            running.append(name)
            continue
        trial = trials[name]
        if name in running:
            running.remove(name)
        if event["event"] == "tell":
            trial.status = str(event["outcome"]["status"])
            trial.halted = trial.status == "stopped" and study.history.trials[name].halted
            if trial.status != "stopped":
                trial.epoch = trial.recording.epochs
        else:
            trial.epoch = int(event["epoch"])
            if decision == Decision.CONTINUE:
                running.append(name)
        ready += [other for other, each in others_of(event).items() if each is Decision.CONTINUE]
        while ready and len(running) < places:
            running.append(ready.pop(0))
    study.rebuilt()
    while study.next_ready() is not None:
        pass  # they are in `running` and `ready`
    return running + ready
