"""Stronger weight decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.regularizers.base import Regularizer


class WeightL2(Regularizer):
    """L2 on the supernet's weights: multiplies the search's weight decay, also in the virtual step."""

    NAME = "weight_l2"
    LANES = True
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656): section 5.2: 3e-4 times 1, 3, 9, 27, 81"
    FORMULA = "weight_decay <- factor * weight_decay"
    DIFFERS = (
        "R-DARTS(L2) searches with each of the factors 1, 3, 9, 27 and keeps the cell that validates best; here a "
        "trial has one factor, and a sweep over it is that."
    )
    NEUTRAL = {"factor": 1.0}
    OVERRIDES = ("weight_decay",)

    class Settings(registry.Settings):
        factor: float = Field(9.0, ge=0, description="Factor on `search.weight_decay`.")

        def may_change(self) -> tuple[str, ...]:
            return ("factor",)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.section.weight_decay == 0 and self.settings.factor != 1:
            yield Idle("factor", "multiplies search.weight_decay, which is 0; give that a value above 0")

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        return {"weight_decay": self.settings.factor * asked["weight_decay"]}
