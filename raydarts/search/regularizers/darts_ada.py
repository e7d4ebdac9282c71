"""Adaptive weight decay: the search returns to before the loss became sharp, and uses a larger weight decay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search import sharpness
from raydarts.search.moments import EpochReport, Moment, Stop
from raydarts.search.regularizers.base import Regularizer
from raydarts.states import State


class DartsAda(Regularizer):
    """Returns to an earlier epoch with a larger weight decay when the dominant eigenvalue has risen too far.

    It returns to the state at the end of the earlier epoch: weights, alpha, both optimizers, the learning rate's
    schedule. The new weight decay is min(factor * weight decay, cap). The later epochs are run again, so the search
    takes more epochs in all. `at_cap` says what a rise means when the cap is reached: `go_on` ignores it, `stop` ends
    the search as `darts_es` does. The search keeps the states of `every` * (floor(window / 2) + lag) epochs (12 by
    default) in memory and in its checkpoints.
    """

    NAME = "darts_ada"
    LANES = True
    SOURCE = sharpness.SOURCE + " and appendix; factor 10 and cap .03 as in the authors' DARTS-ADA script"
    FORMULA = "at darts_es' rise: back to its epoch, weight_decay <- min(factor * weight_decay, cap)"
    DIFFERS = (
        "The code's own defaults are factor 3 and cap .0243, its script's and the paper's 10 and .03. "
        "The code's architect keeps the first weight decay in the virtual step; here it takes the new one. "
        "Where the cap is no power of the factor times the first, the code never sees that it is reached; here the "
        "last raise is to the cap. The code may return to before the epoch it last returned to; here never. Draws at "
        "random go on where they are, in both. "
    ) + sharpness.DIFFERS
    NEUTRAL = {"ratio": None}
    OVERRIDES = ("weight_decay",)
    KEEPS = ("weight_decay",)
    # The default compares epochs that are 12 apart. These settings return from the second epoch to the first.
    CONTRACT: ClassVar[Mapping[str, object]] = {"every": 1, "window": 1, "lag": 1, "min_epochs": 1, "ratio": 1e-9}

    class Settings(sharpness.SharpnessSettings):
        factor: float = Field(10.0, gt=1, description="Factor on the weight decay at each return.")
        cap: float = Field(0.03, gt=0, description="Largest weight decay.")
        at_cap: Literal["go_on", "stop"] = Field(
            "go_on",
            description="What a rise means at the largest weight decay: `go_on` ignores it, `stop` ends the search.",
        )

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._sharpness = sharpness.Sharpness(self.settings)
        self._weight_decay = 0.0

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        """Returns the weight decay unchanged. From now on this remedy sets it."""
        self._weight_decay = asked["weight_decay"]
        if self._weight_decay == 0 and self.settings.ratio is not None:
            raise InputError(
                f"{self.registered} multiplies the weight decay, which is 0: give weight_decay a value above 0"
            )
        return {"weight_decay": self._weight_decay}

    def on_epoch_start(self, now: Moment) -> None:
        self._sharpness.on_epoch_start(now)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        decay, cap = around.section.weight_decay, self.settings.cap
        if self.settings.ratio is not None and 0 < cap <= decay:
            ends = self.settings.at_cap == "stop"
            if not ends or self.settings.written("factor"):
                what = f"is no more than search.weight_decay {decay:g}, which is never raised; raise cap"
                yield Idle("cap" if not ends else "factor", what if not ends else f"acts below cap {cap:g}; raise cap")

    def remembers(self) -> int:
        return 0 if self.settings.ratio is None else int(self.settings.span)

    def needs_eigenvalue(self, epoch: int) -> bool:
        return bool(self.settings.due(epoch))

    def should_stop(self, report: EpochReport) -> Stop | None:
        rise = self._sharpness.rise(report)
        if rise is None:
            return None
        if self._weight_decay < self.settings.cap:
            self._weight_decay = self._raised()
            return Stop(rise.reason, rise.epoch, {"weight_decay": self._weight_decay})
        return Stop(rise.reason, rise.epoch) if self.settings.at_cap == "stop" else None

    def _raised(self) -> float:
        """Returns the raised weight decay.

        3e-4 times 10 times 10 is slightly less than 0.03 in floating point. It counts as the cap.
        """
        cap = float(self.settings.cap)
        raised = min(self.settings.factor * self._weight_decay, cap)
        return cap if math.isclose(raised, cap) else raised

    def state_dict(self) -> State:
        return {"weight_decay": self._weight_decay, **self._sharpness.state_dict()}

    def load_state_dict(self, state: State) -> None:
        self._weight_decay = state["weight_decay"]
        self._sharpness.load_state_dict(state)
