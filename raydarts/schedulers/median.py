"""The median stopping rule."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.schedulers.driving import TIME, Driven
from raydarts.study.scheduling import Decider
from raydarts.units import Epochs, Trials

MEETINGS = 10
"""How often the search seeds of a configuration wait for one another, at most."""


class Median(Scheduler):
    """A trial is stopped where its best value is worse than the median of the other trials' means up to its epoch."""

    NAME = "median"
    SOURCE = "Golovin et al. 2017, KDD (Google Vizier), section 3.2.2; Ray Tune MedianStoppingRule"
    AVERAGES = True

    class Settings(registry.Settings):
        """No trial is stopped before `grace_period` epochs, and means leave earlier epochs out. A trial is stopped only
        where at least `min_trials` others have come as far.
        """

        grace_period: Epochs = Field(
            1, ge=1, description="No trial is stopped earlier, and means leave earlier epochs out."
        )
        min_trials: Trials = Field(
            3, ge=1, description="A trial is stopped only if at least this many others have come as far."
        )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        grace, least = self.settings.grace_period, self.settings.min_trials
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
        return frozenset(range(self.settings.grace_period, horizon.epochs, math.ceil(horizon.epochs / MEETINGS)))

    def build(self, horizon: Horizon) -> Decider:
        from ray.tune.schedulers import MedianStoppingRule  # noqa: PLC0415 - listing needs no Ray

        scheduler = MedianStoppingRule(
            time_attr=TIME,
            metric=horizon.metric,
            mode=horizon.mode,
            grace_period=self.settings.grace_period,
            min_samples_required=self.settings.min_trials,
        )
        return Driven(scheduler, horizon)
