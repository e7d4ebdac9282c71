"""Asynchronous successive halving."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from raydarts import registry
from raydarts.sweep.schedulers.base import Horizon, Scheduler


class Asha(Scheduler):
    """At each rung a trial below the best 1/reduction_factor so far is stopped."""

    NAME = "asha"
    SOURCE = "Li et al. 2020, MLSys (arXiv 1810.05934)"

    class Settings(registry.Settings):
        """`grace_period` epochs before any stop; the rungs lie at grace_period * reduction_factor^k.

        `max_epochs` null: the most epochs any trial of the sweep runs.
        """

        grace_period: int = Field(1, ge=1)
        reduction_factor: float = Field(4.0, gt=1)
        max_epochs: int | None = Field(None, ge=1)
        brackets: int = Field(1, ge=1)

    def idle(self, epochs: int) -> str | None:
        grace = self.settings.grace_period
        if grace < min(epochs, self.settings.max_epochs or epochs):
            return None
        return (
            f"sweep.scheduler.grace_period is {grace}, and trials run at most {epochs} epochs: asha stops none before "
            "its last epoch; lower grace_period, or write scheduler: fifo"
        )

    def build(self, horizon: Horizon) -> Any:
        from raydarts.sweep.halving import Halving  # noqa: PLC0415 - listing needs no Ray

        last = self.settings.max_epochs or horizon.epochs
        return Halving(
            seed=horizon.seed,
            time_attr="epoch",
            metric=horizon.metric,
            mode=horizon.mode,
            max_t=max(last, self.settings.grace_period),
            grace_period=self.settings.grace_period,
            reduction_factor=self.settings.reduction_factor,
            brackets=self.settings.brackets,
        )
