"""How long a run still takes: one rule for the live display, a run's files, a dry run, a rehearsal and a replay.

What is left is played through many times, stage after stage. In each play

- **an epoch** of a trial takes what the trial's epochs took so far. A trial that has not begun takes what one of the
  timed trials took, drawn at random, times how much more its estimator computes (`weight`).
- **a trial's end** follows the rule on early stops: after each epoch the share that is stopped is the share that was
  stopped there so far. The scheduler's plan (`Cut`) counts as `_PLAN_COUNTS` trials of that, so it decides as long as
  few trials came so far, and what happened decides later. A trial that failed or ended early counts as stopped.
- **a place** takes the next trial when it is free. From trial to trial it needs what it needed so far (`gaps`).

The middle of the plays is the time left, and eight of ten plays lie in its range. The mean time of an epoch is itself
uncertain: each play draws it anew, the more widely the fewer trials were timed.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median
from typing import Literal

State = Literal["running", "waiting", "ended"]
_PLAN_COUNTS = 6.0
"""As many trials as the scheduler's plan counts for, at each of its cuts."""
_NO_PLAN_COUNTS = 2.0
"""As many trials without a stop are assumed after an epoch for which the scheduler plans none."""
_ALONE, _ASSUMED = 0.2, 2.0
"""Relative spread of epochs between trials that is assumed as long as few were timed: it counts as two trials."""
_RULE = 0.07
"""How far, relatively, this rule itself is off: with it the ranges of replayed sweeps hold what was left more often."""
_PLAYS, _FEW_PLAYS, _MANY = 100, 40, 300
LOW, HIGH = 0.1, 0.9


@dataclass(frozen=True)
class Cut:
    """After epoch `epoch` the scheduler lets about this share of the trials go on."""

    epoch: int
    keeps: float


@dataclass(frozen=True)
class Cohort:
    """The next `trials` trials of a stage, for which the scheduler plans these cuts. 0: all that follow."""

    trials: int
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True)
class Span:
    """When an epoch began and ended, by the clock of its process. `process` names the process."""

    start: float
    end: float
    process: str = ""

    @property
    def seconds(self) -> float:
        return max(0.0, self.end - self.start)


@dataclass(frozen=True)
class TrialState:
    """A trial as it stands. `epochs`: how many it has run, of at most `most`.

    `age`: seconds since its last epoch ended, or since it was given its place. `weight`: how much an epoch of it
    computes, compared with other trials of its stage.
    """

    name: str
    state: State
    epochs: int
    most: int
    spans: Sequence[Span] = ()
    age: float = 0.0
    weight: float = 1.0
    index: int = 0
    """Its number among the trials of its stage."""


@dataclass(frozen=True)
class StageState:
    """A stage as it stands. `total`: its trials in all; `most`: the epochs of one that has not begun.

    `places`: how many trials run at a time. `like`: stages with the same text have epochs of equal cost. `seconds`:
    what an epoch of it takes as it was measured beforehand; None: it was not. `weights`: those of its trials, by
    number.
    """

    name: str
    total: int
    most: int
    places: int = 1
    trials: Sequence[TrialState] = ()
    cohorts: Sequence[Cohort] = ()
    like: str = ""
    seconds: float | None = None
    weights: Sequence[float] = ()
    together: int = 1
    """How many trials in a row are stopped together, as the search seeds of a configuration are."""
    startup: float = 0.0
    """Seconds until the first epoch of the stage begins."""

    @property
    def ended(self) -> int:
        return sum(trial.state == "ended" for trial in self.trials)

    @property
    def done(self) -> bool:
        return self.ended >= self.total


@dataclass(frozen=True)
class Range:
    """Seconds: the middle, and the ends between which eight of ten plays lie."""

    low: float
    middle: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"low": self.low, "seconds": self.middle, "high": self.high}


@dataclass(frozen=True)
class Forecast:
    """What is left: of each stage that has a known epoch time, and of all of them.

    `unknown`: stages of which no epoch was timed; they are not in `total`. `total` None: no stage is known. `trials`:
    the seconds left of each running trial. `epochs`: how many epochs each stage will probably have run in all.
    """

    stages: Mapping[str, Range]
    total: Range | None
    unknown: tuple[str, ...]
    trials: Mapping[str, float]
    epochs: Mapping[str, float] = field(default_factory=dict)


def forecast(stages: Sequence[StageState], seed: int = 0) -> Forecast:
    """Returns what is left of these stages, which run one after the other."""
    pools = _pools(stages)
    models = {stage.name: _Model(stage, pools.get(stage.name, [])) for stage in stages if not stage.done}
    known = [model for model in models.values() if model.known]
    unknown = tuple(model.stage.name for model in models.values() if not model.known)
    waiting = sum(model.stage.total - model.stage.ended for model in known)
    plays = _FEW_PLAYS if waiting > _MANY else _PLAYS
    rng = random.Random(seed)
    played = {model.stage.name: [model.play(rng) for _ in range(plays)] for model in known}
    each = {name: _range(seconds) for name, seconds in played.items()}
    total = _range([sum(seconds) for seconds in zip(*played.values(), strict=True)]) if played else None
    trials = {name: left for model in known for name, left in model.running().items()}
    epochs = {stage.name: _expected(models.get(stage.name), stage) for stage in stages}
    return Forecast(each, total, unknown, trials, epochs)


def _expected(model: _Model | None, stage: StageState) -> float:
    ran = float(sum(trial.epochs for trial in stage.trials))
    return ran if model is None else ran + model.expected_epochs()


def _range(seconds: Sequence[float]) -> Range:
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return Range(ordered[round(LOW * last)], ordered[round(0.5 * last)], ordered[round(HIGH * last)])


def _pools(stages: Sequence[StageState]) -> dict[str, list[float]]:
    """For each stage the seconds of an epoch, a number for each timed trial, divided by the trial's weight.

    A stage without any takes those of a stage whose epochs cost the same, else what was measured beforehand.
    """
    own = {stage.name: [pace for trial in stage.trials if (pace := _pace(trial)) is not None] for stage in stages}
    pools = {}
    for stage in stages:
        alike = [each for each in stages if each.like and each.like == stage.like and own[each.name]]
        pool = own[stage.name] or [pace for each in alike for pace in own[each.name]]
        pools[stage.name] = pool or ([] if stage.seconds is None else [stage.seconds])
    return pools


def _pace(trial: TrialState) -> float | None:
    """The seconds of an epoch of a trial, with the time that passes between its epochs, for a weight of 1.

    The first epoch is left out where there are others: it holds what a process does once. A pause is not counted.
    """
    spans = trial.spans[1:] or trial.spans
    if not spans:
        return None
    steps = [span.seconds for span in spans]
    for before, span in pairwise(spans):
        gap = span.start - before.end
        if span.process == before.process and 0 < gap <= max(2 * span.seconds, 1.0):
            steps.append(gap)
    return sum(steps) / len(spans) / trial.weight


def gap_of(trials: Sequence[TrialState]) -> float:
    """The seconds that a place needs from one trial to the next: the median over processes that ran several."""
    by_process: dict[str, list[tuple[float, float, str]]] = {}
    for trial in trials:
        for span in trial.spans:
            if span.process:
                by_process.setdefault(span.process, []).append((span.start, span.end, trial.name))
    gaps = []
    for spans in by_process.values():
        spans.sort()
        seen, latest = {spans[0][2]}, spans[0][1]
        for start, end, name in spans[1:]:
            if name not in seen:
                seen.add(name)
                gaps += [start - latest] if start > latest else []
            latest = max(latest, end)
    return median(gaps) if gaps else 0.0


class _Model:
    """One stage, ready to be played."""

    def __init__(self, stage: StageState, pool: Sequence[float]) -> None:
        self.stage = stage
        self._pool = [pace for pace in pool if pace > 0]
        self.known = bool(self._pool)
        self._gap = gap_of(stage.trials)
        self._stops = _counted(stage)
        self._expected = {which: self._life(which, None) for which in range(max(len(stage.cohorts), 1))}
        timed = len(self._pool)
        self._usual = fmean(self._pool) if self._pool else 0.0
        logs = [math.log(pace) for pace in self._pool]
        squares = sum((each - fmean(logs)) ** 2 for each in logs) if logs else 0.0
        self._spread = math.sqrt((squares + _ASSUMED * _ALONE**2) / (max(timed - 1, 0) + _ASSUMED))
        self._doubt = self._spread / math.sqrt(max(timed, 1))

    def _life(self, which: int, rng: random.Random | None) -> list[float]:
        """`life[e]`: the share of a cohort's trials that run past epoch e. `rng`: draws the shares of a play."""
        stage, alive = self.stage, 1.0
        cuts = {cut.epoch: cut.keeps for cut in stage.cohorts[which].cuts} if stage.cohorts else {}
        falling = []
        for epoch in range(max(stage.most, 1)):
            passed, stopped = (count / max(stage.together, 1) for count in self._stops.get((which, epoch), (0, 0)))
            keeps, counts = (cuts[epoch], _PLAN_COUNTS) if epoch in cuts else (1.0, _NO_PLAN_COUNTS)
            on, off = counts * keeps + passed, counts * (1 - keeps) + stopped
            alive *= on / (on + off) if rng is None or on <= 0 or off <= 0 else rng.betavariate(on, off)
            falling.append(alive)
        return falling

    def _pending(self) -> range:
        """The numbers of the trials that have not begun."""
        return range(len(self.stage.trials), self.stage.total)

    def expected_epochs(self) -> float:
        """The epochs that all trials still run, on average."""
        stage, cohorts = self.stage, self.stage.cohorts
        epochs = 0.0
        for trial in stage.trials:
            if trial.state != "ended":
                life = self._expected[_cohort(cohorts, trial.index)]
                base = _base(life, trial.epochs, trial.state == "running")
                epochs += sum(life[trial.epochs : trial.most]) / base if base > 0 else 0.0
        return epochs + sum(sum(self._expected[_cohort(cohorts, index)]) for index in self._pending())

    def _weight(self, index: int) -> float:
        weights = self.stage.weights
        if not weights:
            return fmean(trial.weight for trial in self.stage.trials) if self.stage.trials else 1.0
        return weights[index] if index < len(weights) else fmean(weights)

    def _own(self, trial: TrialState) -> float:
        """The seconds of an epoch of a trial that was timed or not, as known now."""
        pace, timed = _pace(trial), len(trial.spans)
        if pace is None:
            return self._usual * trial.weight
        return (pace * timed + self._usual) / (timed + 1) * trial.weight

    def running(self) -> dict[str, float]:
        """The seconds left of each running trial, where it runs to its last epoch."""
        return {
            trial.name: max((trial.most - trial.epochs) * self._own(trial) - trial.age, 0.0)
            for trial in self.stage.trials
            if trial.state == "running"
        }

    def play(self, rng: random.Random) -> float:
        """One play of what is left. Returns its seconds."""
        stage, factor = self.stage, math.exp(rng.gauss(0, self._doubt))
        lives = {which: [-share for share in self._life(which, rng)] for which in self._expected}
        marks: dict[int, float] = {}

        def drawn(index: int, epochs: int, most: int, decided: bool) -> int:
            """The epochs that a trial still runs: it goes on after epoch e as long as life[e] is above its mark."""
            fallen = lives[_cohort(stage.cohorts, index)]
            mark = marks.setdefault(index // max(stage.together, 1), rng.random())
            base = -_base(fallen, epochs, decided) if epochs or decided else 1.0
            last = bisect_left(fallen, -mark * base, lo=min(epochs + decided, len(fallen)))
            return max(min(last, most) - epochs if last < len(fallen) else most - epochs, 0)

        places: list[float] = []
        queue: list[float] = []
        for trial in stage.trials:
            if trial.state == "ended":
                continue
            epochs = drawn(trial.index, trial.epochs, trial.most, trial.state == "running")
            pace = self._own(trial) * math.exp(rng.gauss(0, self._spread / (len(trial.spans) + 1)))
            if trial.state == "running":
                places.append(max(epochs * pace - trial.age, 0.0))
            else:
                queue.append(epochs * pace + self._gap)
        for index in self._pending():
            epochs = drawn(index, 0, stage.most, False)
            queue.append(epochs * rng.choice(self._pool) * factor * self._weight(index) + self._gap)
        begun = any(trial.state != "waiting" for trial in stage.trials)
        places += [0.0] * (max(stage.places, 1) - len(places))
        heapq.heapify(places)
        for seconds in queue:
            heapq.heapreplace(places, places[0] + seconds)
        return ((0.0 if begun else stage.startup) + max(places)) * math.exp(rng.gauss(0, _RULE))


def _base(life: Sequence[float], epochs: int, decided: bool) -> float:
    """The share of trials that came as far as one that has run `epochs`. `decided`: it goes on after the last one."""
    if decided:
        return life[min(epochs, len(life) - 1)]
    return life[min(epochs, len(life)) - 1] if epochs else 1.0


def _counted(stage: StageState) -> dict[tuple[int, int], tuple[int, int]]:
    """By cohort and epoch: how many trials went on after it, and how many were stopped there."""
    counted: dict[tuple[int, int], tuple[int, int]] = {}
    for trial in stage.trials:
        which = _cohort(stage.cohorts, trial.index)
        last = trial.epochs
        for epoch in range(last + (trial.state == "running")):
            passed, stopped = counted.get((which, epoch), (0, 0))
            counted[which, epoch] = (passed + 1, stopped)
        if trial.state == "ended" and last < trial.most:
            passed, stopped = counted.get((which, last), (0, 0))
            counted[which, last] = (passed, stopped + 1)
    return counted


def _cohort(cohorts: Sequence[Cohort], index: int) -> int:
    """The place of the cohort that a trial is of. After the last one they begin again, unless it takes all."""
    if not cohorts:
        return 0
    if cohorts[-1].trials:
        index %= sum(cohort.trials for cohort in cohorts)
    ends, sum_ = [], 0
    for cohort in cohorts:
        sum_ = sum_ + cohort.trials if cohort.trials else index + 1
        ends.append(sum_)
    return min(bisect_right(ends, index), len(cohorts) - 1)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _short(seconds: float) -> str:
    """A time without digits that nobody knows."""
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 10 * 3600:
        return f"{seconds / 3600:.0f} h"
    step = 1 if seconds < 60 else 5 if seconds < 600 else 30 if seconds < 3600 else 60
    return clock(round(seconds / step) * step)


def in_words(time_left: Range) -> str:
    """A range of time, such as `0:04:10 to 0:06:30`, or one time where both ends look alike."""
    low, high = _short(time_left.low), _short(time_left.high)
    return f"about {low}" if low == high else f"{low} to {high}"
