"""No early stopping."""

from __future__ import annotations

from typing import Any

from raydarts.sweep.schedulers.base import Horizon, Scheduler


class Fifo(Scheduler):
    """Every trial runs to its last epoch, in the order proposed."""

    NAME = "fifo"
    SOURCE = "Ray Tune FIFOScheduler"

    def build(self, horizon: Horizon) -> Any:
        from ray.tune.schedulers import FIFOScheduler  # noqa: PLC0415 - listing needs no Ray

        return FIFOScheduler()  # type: ignore[no-untyped-call]
