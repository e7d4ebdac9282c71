"""Asynchronous successive halving."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.schedulers.driving import TIME, Driven
from raydarts.streams import derived_seed
from raydarts.study.forecast import Cohort, Cut
from raydarts.study.scheduling import Decider
from raydarts.units import Epochs

GRACE = 0.28
"""Share of the epochs before the first rung. Earlier cuts lose good configurations, later ones cost: docs/replay.md."""


class Asha(Scheduler):
    """At each rung a trial below the best 1/reduction_factor so far is stopped."""

    NAME = "asha"
    SOURCE = "Li et al. 2020, MLSys (arXiv 1810.05934)"

    class Settings(registry.Settings):
        """`grace_period` epochs before any stop; the rungs lie at grace_period * reduction_factor^k.

        `grace_period` null: 0.28 of the epochs, rounded up. `max_epochs` null: the most epochs any trial of the sweep
        runs.
        """

        grace_period: Epochs | None = Field(
            None,
            ge=1,
            description="No trial is stopped earlier. It is the first rung. `null` is 0.28 of the epochs, rounded up.",
        )
        reduction_factor: float = Field(
            2.0,
            gt=1,
            description="Each rung is at this many times the epochs of the rung before. The best "
            "1/reduction_factor continue.",
        )
        max_epochs: Epochs | None = Field(
            None, ge=1, description="No rung is later. `null` is the most epochs of any trial of the sweep."
        )
        brackets: int = Field(
            1,
            ge=1,
            description="Number of brackets. Bracket s has its first rung at grace_period * reduction_factor^s epochs.",
        )

    GRACE: ClassVar[float] = GRACE
    """Share of the epochs before the first rung, where `grace_period` is null."""

    @property
    def draws(self) -> bool:
        return bool(self.settings.brackets > 1)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.jobs == 1:
            yield Idle("", "compares trials with one another, and there is 1; write scheduler: fifo")
        grace, most, epochs = self._grace(around.epochs), self.settings.max_epochs, around.epochs
        if grace >= epochs:
            yield Idle(
                "grace_period",
                f"is {grace}, and trials run at most {epochs} epochs: {self.NAME} stops none before its last epoch; "
                "lower grace_period, or write scheduler: fifo",
            )
            return
        if most is not None and most < grace:
            yield Idle("max_epochs", f"is {most}, and no trial is stopped before grace_period {grace}; lower that")
        if most is not None and most > epochs and self.settings.brackets == 1:
            yield Idle("max_epochs", f"is {most}, and trials run at most {epochs} epochs; leave max_epochs out")
        useful = self._brackets_that_stop(grace, min(max(most or epochs, grace), epochs))
        if self.settings.brackets > max(useful, 1):
            yield Idle(
                "brackets",
                f"is {self.settings.brackets}, and {max(useful, 1)} of them have a rung before the last epoch: trials "
                f"in the others are never compared; write brackets: {max(useful, 1)}",
            )

    def _grace(self, epochs: int) -> int:
        """The first rung of trials of so many epochs."""
        return int(self.settings.grace_period or max(1, math.ceil(round(self.GRACE * epochs, 9))))

    def _brackets_that_stop(self, grace: int, last: int) -> int:
        """How many brackets have a rung before `last`: bracket s begins at grace_period * reduction_factor^s."""
        first = [grace * self.settings.reduction_factor**s for s in range(self.settings.brackets)]
        return sum(rung < last for rung in first)

    def meetings(self, horizon: Horizon) -> frozenset[int]:
        """The rungs of all brackets, and `max_epochs`, after which it stops all."""
        rungs = {self._last(horizon.epochs), *self._rungs(horizon.epochs)}
        return frozenset(epoch for epoch in rungs if epoch < horizon.epochs)

    def _last(self, epochs: int) -> int:
        """The epoch after which it stops all."""
        return max(self.settings.max_epochs or epochs, self._grace(epochs))

    def _rungs(self, epochs: int, bracket: int = 0) -> list[int]:
        """The epochs at which trials of a bracket are compared. Those of bracket 0 are the rungs of all brackets."""
        factor, rungs = self.settings.reduction_factor, []
        rung = self._grace(epochs) * factor**bracket
        while rung <= self._last(epochs) and rung < epochs:
            rungs.append(math.ceil(rung))
            rung *= factor
        return list(dict.fromkeys(rungs))

    def cohorts(self, horizon: Horizon) -> tuple[Cohort, ...]:
        """The best 1/reduction_factor go on at each rung; of several brackets, those of the first one."""
        last = self._last(horizon.epochs)
        cuts = [Cut(epoch, 1 / self.settings.reduction_factor) for epoch in self._rungs(horizon.epochs) if epoch < last]
        if last < horizon.epochs:
            cuts.append(Cut(last, 0.0))
        return (Cohort(0, tuple(cuts)),)

    def build(self, horizon: Horizon) -> Decider:
        import numpy as np  # noqa: PLC0415 - listing needs neither NumPy nor Ray
        from ray.tune.schedulers import AsyncHyperBandScheduler  # noqa: PLC0415

        class Halving(AsyncHyperBandScheduler):
            """A trial's bracket follows from the seed and its name, not from NumPy's global generator."""

            def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
                sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
                weights = np.exp(sizes - sizes.max())
                generator = np.random.default_rng(derived_seed(horizon.seed, trial.trial_id))
                chosen = generator.choice(len(self._brackets), p=weights / weights.sum())
                self._trial_info[trial.trial_id] = self._brackets[chosen]

        grace, last = self._grace(horizon.epochs), self.settings.max_epochs or horizon.epochs
        scheduler = Halving(
            time_attr=TIME,
            metric=horizon.metric,
            mode=horizon.mode,
            max_t=max(last, grace),
            grace_period=grace,
            reduction_factor=self.settings.reduction_factor,
            brackets=self.settings.brackets,
        )
        return Driven(scheduler, horizon)
