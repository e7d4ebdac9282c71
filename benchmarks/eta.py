"""How well the time left is forecast: replayed sweeps whose length is known, asked again and again on their way.

    python benchmarks/eta.py FILE [--sweeps 20] [--workers 8] [--json OUT]

FILE is a table of recorded searches (docs/replay.md), for example RobustDARTS' S1 grid. A sweep is replayed as by
`raydarts replay`: searcher, scheduler, halt and replicates are those of a real sweep. Then 24 retrainings follow, and 2
of a transfer. Times are made up: a trial's epoch takes 240 s at the median (lognormal over trials, sigma 0.3), varies
by a tenth from epoch to epoch, and a place needs 8 s from one trial to the next. Retrainings take 400 s an epoch,
transfers 900 s. Before a stage has begun, an epoch of it is known from a timed step that is off by 15 % (sigma).

At each 2 % of a sweep's whole time `raydarts.study.forecast` is given what had happened by then, as `raydarts status`
gives it. A row of the result is one scheduler and one kind of sweep (search alone, or all stages):

- `within`: of the forecasts from a quarter of the run on, the share that names the run's whole time (elapsed + left)
  within 25 %; `left_within`: the share that names what is left within 25 %, until nine tenths of the run
- `error`, `worst`: the mean and the largest error of the whole time, as a share of it
- `covered`: the share of forecasts whose range holds what was left
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from pathlib import Path
from statistics import fmean
from typing import Any

from raydarts.execution.executor import Handler, Loss, NotNow
from raydarts.execution.recorded import RecordedExecutor, RecordedTrial
from raydarts.runs.recordings import Recordings, read
from raydarts.study.forecast import Cohort, Span, StageState, TrialState, forecast
from raydarts.sweeping.replaying import Plan, replay
from raydarts.sweeping.replays import plan_of, settings_of
from raydarts.sweeping.strategy import cohorts_of

SCHEDULERS = ("fifo", "asha", "median", "hyperband")
MEDIAN, SIGMA, JITTER, GAP = 240.0, 0.3, 0.1, 8.0
RETRAINING, TRANSFER = (24, 60, 400.0), (2, 40, 900.0)
"""Trials, epochs and seconds an epoch."""


@dataclass
class Lived:
    """What a trial did: `spans` of its epochs, when it had a place (`given`, `let_go`), and when it ended."""

    name: str
    most: int
    spans: list[Span] = field(default_factory=list)
    given: list[float] = field(default_factory=list)
    let_go: list[float] = field(default_factory=list)
    ended: float = math.inf

    def at(self, now: float, index: int) -> TrialState | None:
        """The trial as it stood at a time. None: it had not begun."""
        given = [time for time in self.given if time <= now]
        if not given:
            return None
        spans = [span for span in self.spans if span.end <= now]
        if self.ended <= now:
            return TrialState(self.name, "ended", len(spans), self.most, spans, index=index)
        holds = len(given) > len([time for time in self.let_go if time <= now])
        since = max([given[-1], *(span.end for span in spans)])
        state = "running" if holds else "waiting"
        return TrialState(self.name, state, len(spans), self.most, spans, now - since if holds else 0.0, index=index)


class TimedExecutor(RecordedExecutor):
    """Replays on a clock of seconds, and keeps what each trial did and when."""

    def __init__(self, seed: int, most: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._most = most
        self._rates: dict[str, float] = {}
        self._names: dict[str, str] = {}
        self._gaps: dict[str, float] = {}
        self.lived: dict[str, Lived] = {}
        self._free: list[str] = []
        self._place: dict[str, str] = {}

    def run(self, handler: Handler[RecordedTrial], places: int, most: int | None = None, max_failures: int = 0) -> None:
        self._free = [f"p{number}" for number in range(places)]
        super().run(_Noting(handler, self), places, most, max_failures)

    def given(self, key: str, name: str) -> None:
        trial = self.lived.setdefault(name, Lived(name, self._most))
        trial.given.append(self.clock)
        self._names[key], self._place[key] = name, self._free.pop()
        self._gaps[key] = 0.0 if self.clock == 0 else GAP

    def lasts(self, key: str, epoch: int) -> float:
        name = self._names[key]
        if name not in self._rates:
            self._rates[name] = MEDIAN * math.exp(self._random.gauss(0, SIGMA))
        seconds = self._rates[name] * math.exp(self._random.gauss(0, JITTER))
        gap = self._gaps.pop(key, 0.0)
        start = self.clock + gap
        self.lived[name].spans.append(Span(start, start + seconds, self._place[key]))
        return gap + seconds

    def let_go(self, key: str, done: bool) -> None:
        trial = self.lived[self._names[key]]
        trial.let_go.append(self.clock)
        trial.spans = [span for span in trial.spans if span.end <= self.clock + 1e-6]
        self._free.append(self._place.pop(key))
        if done:
            trial.ended = self.clock


class _Noting:
    """Passes everything on to the sweep's handler, and tells the executor whose trial has a place."""

    def __init__(self, handler: Any, executor: TimedExecutor) -> None:
        self._handler, self._executor = handler, executor

    def start(self, key: str) -> RecordedTrial | NotNow:
        trial: RecordedTrial | NotNow = self._handler.start(key)
        if not isinstance(trial, NotNow):
            self._executor.given(key, self._handler._live[key].name)
        self._settle()
        return trial

    def reported(self, key: str, row: Mapping[str, object]) -> bool:
        goes_on: bool = self._handler.reported(key, row)
        self._settle()
        return goes_on

    def lost(self, key: str, loss: Loss, again: bool) -> None:
        self._executor.let_go(key, done=True)
        self._handler.lost(key, loss, again)

    def ended(self, key: str) -> None:
        paused = key in self._handler._paused
        self._executor.let_go(key, done=not paused)
        self._handler.ended(key)
        self._settle()

    def _settle(self) -> None:
        """Trials that were stopped while they waited have ended."""
        for name, trial in self._handler._trials.items():
            lived = self._executor.lived.get(name)
            if trial.ended and lived is not None and lived.ended == math.inf and len(lived.given) == len(lived.let_go):
                lived.ended = self._executor.clock


def listed(jobs: tuple[int, int, float], places: int, begin: float, seed: int, name: str) -> list[Lived]:
    """The trials of a stage that stops none, given to free places in order from the time `begin` on."""
    count, epochs, usual = jobs
    rng = random.Random(seed)
    free = [(begin, f"{name}{number}") for number in range(places)]
    heapify(free)
    lived = []
    for number in range(count):
        now, place = free[0]
        trial = Lived(f"{name}-{number}", epochs, given=[now])
        rate = usual * math.exp(rng.gauss(0, SIGMA / 2))
        at = now + (GAP if now > begin else 0.0)
        for _ in range(epochs):
            end = at + rate * math.exp(rng.gauss(0, JITTER))
            trial.spans.append(Span(at, end, place))
            at = end
        trial.ended = at
        trial.let_go.append(at)
        heapreplace(free, (at, place))
        lived.append(trial)
    return lived


def asked(
    stages: Sequence[tuple[str, int, int, int, list[Lived], Sequence[Cohort], float | None]], now: float, together: int
) -> list[StageState]:
    """The stages as they stood at a time."""
    states = []
    for name, total, most, places, lived, cohorts, seconds in stages:
        trials = [state for index, trial in enumerate(lived) if (state := trial.at(now, index)) is not None]
        each = together if name == "search" else 1
        states.append(StageState(name, total, most, places, trials, cohorts, seconds=seconds, together=each))
    return states


def one(plan: Plan, number: int, all_stages: bool) -> list[tuple[float, float, float, float, float]]:
    """Forecasts along one sweep: share of the time gone, elapsed, left, and the forecast's range."""
    executor = TimedExecutor(number, plan.recordings.epochs)
    replay(plan, number, executor=executor)
    search = list(executor.lived.values())
    rng = random.Random(f"timed {number}")
    cohorts = cohorts_of(plan.sweep, None, plan.recordings.epochs)
    stages: list[Any] = [("search", len(search), plan.recordings.epochs, plan.places, search, cohorts, None)]
    end = executor.clock
    for name, jobs in (("evaluate", RETRAINING), ("transfer", TRANSFER)) if all_stages else ():
        lived = listed(jobs, plan.places, end, number, name)
        end = max(trial.ended for trial in lived)
        timed = jobs[2] * math.exp(rng.gauss(0, 0.15))
        stages.append((name, jobs[0], jobs[1], plan.places, lived, (), timed))
    points = []
    for percent in range(25, 100, 2):
        now = end * percent / 100
        told = forecast(asked(stages, now, plan.sweep.trials_each)).total
        if told is not None:
            points.append((percent / 100, now, end - now, told.low, told.middle, told.high))
    return points  # type: ignore[return-value]


def figures(points: Sequence[Any]) -> dict[str, float]:
    """What forecasts of many sweeps came to together."""
    errors = [abs(now + middle - (now + left)) / (now + left) for _, now, left, _, middle, _ in points]
    early = [abs(middle - left) / left for share, _, left, _, middle, _ in points if share <= 0.9]
    return {
        "within": fmean(error <= 0.25 for error in errors),
        "left_within": fmean(error <= 0.25 for error in early),
        "error": fmean(errors),
        "worst": max(errors),
        "left_error": fmean(early),
        "bias": fmean((middle - left) / (now + left) for _, now, left, _, middle, _ in points),
        "covered": fmean(low <= left <= high for _, _, left, low, _, high in points),
        "asked": len(points),
    }


def plan_for(recordings: Recordings, scheduler: str, workers: int, replicates: bool) -> Plan:
    """The sweep that is replayed, with all recorded seeds as replicates or one seed of each configuration."""
    sets = [f"sweep.scheduler={scheduler}"]
    if replicates and len(recordings.seeds) > 1:
        sets.append(f"sweep.replicates={list(recordings.seeds)}")
    return plan_of(recordings, settings_of(recordings, sets), workers)[0]


def rows_of(recordings: Recordings, sweeps: int, workers: int) -> Iterator[dict[str, Any]]:
    """A row for each scheduler, with and without replicates, of the search alone and of all stages."""
    for scheduler in SCHEDULERS:
        for replicates in (True, False):
            plan = plan_for(recordings, scheduler, workers, replicates)
            for all_stages in (False, True):
                points = [point for number in range(sweeps) for point in one(plan, number, all_stages)]
                kind = {"scheduler": scheduler, "replicates": replicates, "stages": "all" if all_stages else "search"}
                yield {**kind, "workers": workers, **figures(points)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for row in rows_of(read([given.file]), given.sweeps, given.workers):
        rows.append(row)
        words = (f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print("  ".join(words), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps({"rows": rows, "sweeps": given.sweeps}, indent=2) + "\n")


if __name__ == "__main__":
    main()
