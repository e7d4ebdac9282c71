"""FairDARTS' zero-one loss."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.regularizers.base import Alphas, Regularizer


class ZeroOne(Regularizer):
    """Rewards arch weights that are close to 0 or 1 instead of 1/2, so that rounding them at the end changes little.

    It adds -strength * mean of (sigmoid(alpha) - 1/2)^2 (`norm` l2), or of |sigmoid(alpha) - 1/2| (`norm` l1), to the
    loss that alpha descends. The mean covers all candidates of all edges of all cell types.
    """

    NAME = "zero_one"
    LANES = True
    SOURCE = "FairDARTS (Chu et al. 2020, arXiv 1911.12126), section 4.2; weight 10"
    NEUTRAL = {"strength": 0.0}
    REQUIRES = ("relaxation:sigmoid",)
    FORMULA = "L_val - strength * mean((sigmoid(alpha) - 1/2)^2)   [l1: mean |sigmoid(alpha) - 1/2|]"
    DIFFERS = (
        "None in the formula. FairDARTS' code drops it under second order (it is first order alone); here every "
        "estimator has it. In a space with `none` the mean counts its arch weights too: FairDARTS searches without."
    )

    class Settings(registry.Settings):
        strength: float = Field(10.0, ge=0, description="Factor on the reward.")
        norm: Literal["l2", "l1"] = Field(
            "l2", description="Whether the distance from 1/2 is squared (`l2`) or absolute (`l1`)."
        )

        def may_change(self) -> tuple[str, ...]:
            return ("strength",)

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        if self.settings.strength == 0.0:
            return None
        away = torch.cat([alpha.flatten() for alpha in alphas.values()]).sigmoid() - 0.5
        distance = away.square() if self.settings.norm == "l2" else away.abs()
        penalty: Tensor = -self.settings.strength * distance.mean()
        return penalty
