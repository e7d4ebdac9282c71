"""Stronger weight decay on alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.regularizers.base import Regularizer


class AlphaL2(Regularizer):
    """L2 on alpha: multiplies alpha's weight decay, which draws the candidates of an edge together."""

    NAME = "alpha_l2"
    LANES = True
    SOURCE = "DARTS (arXiv 1806.09055), appendix A.1.1: weight decay 1e-3 on alpha; the factors are RobustDARTS' for w"
    FORMULA = "arch_weight_decay <- factor * arch_weight_decay"
    DIFFERS = (
        "No paper raises alpha's weight decay by a factor: 9 is taken from RobustDARTS' grid for the weights (1, 3, 9, "
        "27, 81). As in the authors' code the decay is part of Adam's gradient, so that Adam rescales it (AdamW would "
        "not), and neither L_val nor the Hessian's eigenvalue contains it."
    )
    NEUTRAL = {"factor": 1.0}
    OVERRIDES = ("arch_weight_decay",)

    class Settings(registry.Settings):
        factor: float = Field(9.0, ge=0, description="Factor on `search.arch_weight_decay`.")

        def may_change(self) -> tuple[str, ...]:
            return ("factor",)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.section.arch_weight_decay == 0 and self.settings.factor != 1:
            yield Idle("factor", "multiplies search.arch_weight_decay, which is 0; give that a value above 0")

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        return {"arch_weight_decay": self.settings.factor * asked["arch_weight_decay"]}
