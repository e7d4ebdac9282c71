"""Beta-decay."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.moments import Moment
from raydarts.search.regularizers.base import Alphas, Regularizer


class BetaDecay(Regularizer):
    """Adds strength * progress * mean over edges of logsumexp(alpha) to the loss that alpha descends.

    Progress is epoch / (epochs - 1), so the strength is reached at the last epoch. The authors' code
    hard-codes 50 * epoch / 100 and drops the penalty under second order; here every estimator has it.
    Cell types of unlike size weigh by their edges: the mean is over all edges of all cell types.
    """

    NAME = "beta_decay"
    SOURCE = "Beta-DARTS (Ye et al. 2022, arXiv 2203.01665)"
    NEUTRAL = {"strength": 0.0}

    class Settings(registry.Settings):
        strength: float = Field(50.0, ge=0)

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._weight = 0.0

    def on_epoch_start(self, now: Moment) -> None:
        self._weight = self.settings.strength * now.progress

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        if self._weight == 0.0:
            return None
        return self._weight * torch.cat([alpha.logsumexp(-1) for alpha in alphas.values()]).mean()
