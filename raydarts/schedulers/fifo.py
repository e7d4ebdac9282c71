"""No early stopping."""

from __future__ import annotations

from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.schedulers.driving import Driven
from raydarts.study.scheduling import Decider


class Fifo(Scheduler):
    """Every trial runs to its last epoch, in the order proposed."""

    NAME = "fifo"
    SOURCE = "Ray Tune FIFOScheduler"
    SEVERAL = True

    def build(self, horizon: Horizon) -> Decider:
        from ray.tune.schedulers import FIFOScheduler  # noqa: PLC0415 - listing needs no Ray

        return Driven(FIFOScheduler(), horizon)  # type: ignore[no-untyped-call]
