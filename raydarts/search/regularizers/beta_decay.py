"""Beta-decay."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.moments import Moment
from raydarts.search.regularizers.base import Alphas, Regularizer


class BetaDecay(Regularizer):
    """Keeps alpha small, and so the arch weights close together, by the logsumexp of each edge's alpha.

    It adds strength * progress * mean over edges of log(sum over candidates of exp(alpha)) to the loss that alpha
    descends. Progress is epoch / (epochs - 1), so the full strength acts in the last epoch. The mean covers all edges
    of all cell types. A cell type with more edges counts more. The gradient is softmax(alpha) times the factor, divided
    by the number of edges. The largest alpha is pulled down the most.
    """

    NAME = "beta_decay"
    LANES = True
    SOURCE = "Beta-DARTS (Ye et al. 2022, arXiv 2203.01665), its Beta-decay loss (smoothmax of alpha); lambda 0 to 50"
    NEUTRAL = {"strength": 0.0}
    FORMULA = "L_val + strength * epoch / (epochs - 1) * mean over edges of log(sum exp(alpha))"
    DIFFERS = (
        "The authors' code writes 50 * epoch / 100 whatever the number of epochs (49.5 in the last of its 100) and "
        "drops the penalty under second order; here every estimator has it."
    )

    class Settings(registry.Settings):
        strength: float = Field(50.0, ge=0, description="Factor on the penalty in the last epoch. It rises from 0.")

        def may_change(self) -> tuple[str, ...]:
            return ("strength",)

    @property
    def from_zero(self) -> bool:
        return True

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._weight = 0.0

    def on_epoch_start(self, now: Moment) -> None:
        self._weight = self.settings.strength * now.progress

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        if self._weight == 0.0:
            return None
        return self._weight * torch.cat([alpha.logsumexp(-1) for alpha in alphas.values()]).mean()
