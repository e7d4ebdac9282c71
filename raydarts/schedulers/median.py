"""The median stopping rule."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.schedulers.driving import TIME, Driven
from raydarts.study.forecast import Cohort, Cut
from raydarts.study.scheduling import Decider
from raydarts.units import Epochs, Trials

GRACE = 0.4
"""Share of the epochs before any stop. With an earlier one good configurations are lost: docs/replay.md."""
MEETINGS = 10
"""How often the search seeds of a configuration wait for one another, at most."""


class Median(Scheduler):
    """A trial is stopped where its best value is worse than the median of the other trials' means up to its epoch."""

    NAME = "median"
    SOURCE = "Golovin et al. 2017, KDD (Google Vizier), section 3.2.2; Ray Tune MedianStoppingRule"
    AVERAGES = True

    class Settings(registry.Settings):
        """No trial is stopped before `grace_period` epochs, and means leave earlier epochs out. A trial is stopped only
        where at least `min_trials` others have come as far. `grace_period` null: four tenths of the epochs.
        """

        grace_period: Epochs | None = Field(
            None,
            ge=1,
            description="No trial is stopped earlier, and means leave earlier epochs out. `null` is four tenths of the "
            "epochs.",
        )
        min_trials: Trials = Field(
            3, ge=1, description="A trial is stopped only if at least this many others have come as far."
        )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        grace, least = self._grace(around.epochs), self.settings.min_trials
        if around.jobs and least >= around.jobs:
            yield Idle(
                "min_trials",
                f"is {least}, and a trial has at most {around.jobs - 1} others: median stops none; lower min_trials, "
                "or write scheduler: fifo",
            )
        if grace >= around.epochs:
            yield Idle(
                "grace_period",
                f"is {grace}, and trials run at most {around.epochs} epochs: median stops none before its last epoch; "
                "lower grace_period, or write scheduler: fifo",
            )

    def meetings(self, horizon: Horizon) -> frozenset[int]:
        """The grace period, and from there on every tenth of the epochs: it may stop at any, and waiting costs time."""
        return frozenset(range(self._grace(horizon.epochs), horizon.epochs, math.ceil(horizon.epochs / MEETINGS)))

    def cohorts(self, horizon: Horizon) -> tuple[Cohort, ...]:
        """Half of the trials are below the median when it first compares them. Those that go on are then compared with
        one another, and four of ten of them are stopped soon. The others mostly run to their end.
        """
        grace = self._grace(horizon.epochs)
        cuts = (Cut(grace, 0.5), Cut(grace + 1, 0.6))
        return (Cohort(0, tuple(cut for cut in cuts if cut.epoch < horizon.epochs)),)

    def _grace(self, epochs: int) -> int:
        return int(self.settings.grace_period or max(1, math.ceil(round(GRACE * epochs, 9))))

    def build(self, horizon: Horizon) -> Decider:
        import numpy as np  # noqa: PLC0415 - listing needs neither NumPy nor Ray
        from ray.tune.schedulers import MedianStoppingRule  # noqa: PLC0415

        better = max if horizon.mode == "max" else min

        class Running(MedianStoppingRule):
            """The same answers as Ray Tune's rule in the same time for each report, however many trials there are.

            Ray Tune computes the means of all other trials anew at each report. Here `means[epoch]` holds in order what
            each trial's mean was at that epoch, and a report adds one.
            """

            def __init__(self, **settings: Any) -> None:
                super().__init__(**settings)
                self._values: dict[str, list[float]] = {}
                self._latest: dict[str, tuple[int, float]] = {}
                self._bests: dict[str, float] = {}
                self._means: dict[int, list[float]] = {}

            def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
                name, epoch = trial.trial_id, result[TIME]
                self._note(name, epoch, float(result[horizon.metric]))
                if epoch < self._grace_period:
                    return str(self.CONTINUE)
                means, place = self._means[epoch], self._place(name)
                others = len(means) - 1
                if others < self._min_samples_required:
                    return str(self._on_insufficient_samples(tune_controller, trial, epoch))

                def other(number: int) -> float:
                    return means[number + (number >= place)]

                middle = float(np.mean([other((others - 1) // 2), other(others // 2)]))
                stops = better(middle, self._bests[name]) != self._bests[name]
                return str(self.STOP if stops else self.CONTINUE)

            def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
                self._note(trial.trial_id, result[TIME], float(result[horizon.metric]))

            def _place(self, name: str) -> int:
                """Where a trial's newest mean stands among those of its epoch."""
                epoch, mean = self._latest[name]
                return bisect.bisect_left(self._means[epoch], mean)

            def _note(self, name: str, epoch: int, value: float) -> None:
                """A trial's mean changes with a report. Epochs without a report have the mean of the one before."""
                self._bests[name] = better(self._bests.get(name, value), value)
                if epoch < self._grace_period:
                    return
                values = self._values.setdefault(name, [])
                values.append(value)
                known = self._latest.get(name)
                if known is not None and known[0] == epoch:  # told again at the end of a trial
                    self._means[epoch].pop(self._place(name))
                elif known is not None:
                    for between in range(known[0] + 1, epoch):
                        bisect.insort(self._means.setdefault(between, []), known[1])
                self._latest[name] = epoch, float(np.mean(values))
                bisect.insort(self._means.setdefault(epoch, []), self._latest[name][1])

        scheduler = Running(
            time_attr=TIME,
            metric=horizon.metric,
            mode=horizon.mode,
            grace_period=self._grace(horizon.epochs),
            min_samples_required=self.settings.min_trials,
        )
        return Driven(scheduler, horizon)
