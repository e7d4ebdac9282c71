"""Early stopping when the loss becomes sharp in alpha."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from raydarts import registry
from raydarts.search import sharpness
from raydarts.search.moments import EpochReport, Moment, Stop
from raydarts.search.regularizers.base import Regularizer
from raydarts.states import State


class DartsEs(Regularizer):
    """Stops when the dominant eigenvalue of the alpha Hessian has risen too far. Returns an earlier genotype.

    The genotype is that of the epoch before the rise.
    """

    NAME = "darts_es"
    LANES = True
    SOURCE = sharpness.SOURCE
    FORMULA = "stop if avg(n) / avg(n - lag) > ratio; the genotype is that of the epoch around which avg(n - lag) lies"
    DIFFERS = sharpness.DIFFERS
    NEUTRAL = {"ratio": None}
    CONFLICTS = {"regularizer:darts_ada": "both act on the same rise, one by stopping, the other by going on"}
    # The default compares epochs that are 12 apart. These settings stop after the second epoch.
    CONTRACT: ClassVar[Mapping[str, object]] = {"every": 1, "window": 1, "lag": 1, "min_epochs": 1, "ratio": 1e-9}

    class Settings(sharpness.SharpnessSettings):
        pass

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._sharpness = sharpness.Sharpness(self.settings)

    def on_epoch_start(self, now: Moment) -> None:
        self._sharpness.on_epoch_start(now)

    def needs_eigenvalue(self, epoch: int) -> bool:
        return bool(self.settings.due(epoch))

    def should_stop(self, report: EpochReport) -> Stop | None:
        rise = self._sharpness.rise(report)
        return None if rise is None else Stop(rise.reason, rise.epoch)

    def state_dict(self) -> State:
        return self._sharpness.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._sharpness.load_state_dict(state)
