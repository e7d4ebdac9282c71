"""Asynchronous successive halving for several objectives: rungs that keep the first fronts."""

from __future__ import annotations

from collections.abc import Mapping

from raydarts.schedulers.asha import Asha
from raydarts.schedulers.base import Horizon
from raydarts.streams import derived_seed
from raydarts.study.history import Decision, Decisions, Report
from raydarts.study.objectives import SearchScore
from raydarts.study.pareto import Point, places
from raydarts.study.scheduling import Decider, Verdict


class Moasha(Asha):
    """At each rung a trial goes on if its front, then its crowding distance, is among the best 1/reduction_factor."""

    NAME = "moasha"
    SOURCE = "Schmucker et al. 2021 (arXiv 2106.12639); ties by the crowding distance of Deb et al. 2002, NSGA-II"
    SEVERAL = True

    class Settings(Asha.Settings):
        """As those of `asha`. A rung ranks all trials that have come to it, by non-dominated fronts, and on a front by
        crowding distance. Trials against which health or a constraint speaks are behind all others.
        """

    def build(self, horizon: Horizon) -> Decider:
        brackets = range(self.settings.brackets)
        rungs = [self._rungs(horizon.epochs, bracket) for bracket in brackets]
        return _Rungs(rungs, self._last(horizon.epochs), self.settings.reduction_factor, horizon)


class _Rungs:
    """All brackets at work. A rung keeps the point of each trial that came to it."""

    def __init__(self, rungs: list[list[int]], last: int, factor: float, horizon: Horizon) -> None:
        self._rungs = rungs
        self._last = last
        self._factor = factor
        self._score: SearchScore = horizon.objective
        self._seed = horizon.seed
        self._recorded: dict[tuple[int, int], dict[str, Point]] = {}
        self._reached: dict[str, int] = {}
        """The last rung that each trial has come to."""

    def expect(self, total: int) -> None:
        pass

    def add(self, trial: str, config: Mapping[str, object], choices: Mapping[str, object]) -> None:
        self._reached.setdefault(trial, 0)

    def decide(self, report: Report) -> Verdict:
        if report.epoch >= self._last:
            return Verdict(Decision.STOP, {})
        bracket = self._bracket(report.trial)
        rung = max((rung for rung in self._rungs[bracket] if rung <= report.epoch), default=0)
        numbers = self._numbers(report)
        if rung <= self._reached.get(report.trial, 0) or numbers is None:
            return Verdict(Decision.CONTINUE, {})
        self._reached[report.trial] = rung
        recorded = self._recorded.setdefault((bracket, rung), {})
        recorded[report.trial] = self._score.costs(numbers)
        kept = self._is_kept(list(recorded.values()))
        return Verdict(Decision.CONTINUE if kept else Decision.STOP, {})

    def ended(self, trial: str, last: Report | None) -> Decisions:
        return {}

    def _numbers(self, report: Report) -> tuple[float, ...] | None:
        if self._score.several:
            return report.values
        return None if report.value is None else (report.value,)

    def _is_kept(self, points: list[Point]) -> bool:
        """Whether the last of these points is among the best 1/reduction_factor. The first to come always is."""
        known = places(points)
        better = sum(place.key <= known[-1].key for place in known[:-1])
        return better < max(1.0, len(points) / self._factor)

    def _bracket(self, trial: str) -> int:
        """A trial's bracket follows from the seed and its name, with the chances that `asha` gives to brackets."""
        if len(self._rungs) == 1:
            return 0
        import numpy as np  # noqa: PLC0415 - listing needs no NumPy

        sizes = np.array([len(rungs) for rungs in self._rungs])
        weights = np.exp(sizes - sizes.max())
        generator = np.random.default_rng(derived_seed(self._seed, trial))
        return int(generator.choice(len(self._rungs), p=weights / weights.sum()))
