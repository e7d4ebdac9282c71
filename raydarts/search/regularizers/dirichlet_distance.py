"""DrNAS' distance regularizer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.regularizers.base import Alphas, Regularizer
from raydarts.search.relaxations.dirichlet import concentration


def divergence_from_flat(c: Tensor) -> Tensor:
    """Returns KL(Dirichlet(c) || Dirichlet(1, ..., 1)) for each row of c.

    c is `(num_edges, num_ops)`. The result is `(num_edges,)`.
    """
    total = c.sum(-1)
    weighted = ((c - 1) * (torch.digamma(c) - torch.digamma(total)[:, None])).sum(-1)
    return torch.lgamma(total) - torch.lgamma(c).sum(-1) - math.lgamma(c.shape[-1]) + weighted


class DirichletDistance(Regularizer):
    """Keeps each edge's Dirichlet distribution near the flat one, whose draws explore all mixtures equally.

    It adds a sum over all edges of all cell types to the loss that alpha descends: strength / 2 * |alpha|^2 (`distance`
    l2, where alpha = 0 is the flat one), or strength * KL(Dirichlet(elu(alpha) + 1) || Dirichlet(1)) (`distance` kl).
    """

    NAME = "dirichlet_distance"
    LANES = True
    SOURCE = "DrNAS (Chen et al. 2021, arXiv 2006.10355), section 2.2; strength 1e-3"
    NEUTRAL = {"strength": 0.0}
    REQUIRES = ("relaxation:dirichlet",)
    FORMULA = "L_val + strength / 2 * sum(alpha^2)   [kl: L_val + strength * sum KL(Dir(elu(alpha) + 1) || Dir(1))]"
    DIFFERS = (
        "The authors' L2 is Adam's weight decay of 1e-3 on alpha, and their KL goes without weight decay; here both "
        "come beside search.arch_weight_decay (1e-3 by default), which must be 0 for their searches."
    )

    class Settings(registry.Settings):
        strength: float = Field(1e-3, ge=0, description="Factor on the penalty.")
        distance: Literal["l2", "kl"] = Field(
            "l2", description="`l2` is |alpha|^2 / 2. `kl` is the divergence from the flat Dirichlet distribution."
        )

        def may_change(self) -> tuple[str, ...]:
            return ("strength",)

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        if self.settings.strength == 0.0:
            return None
        if self.settings.distance == "l2":
            terms = [alpha.square().sum() / 2 for alpha in alphas.values()]
        else:
            terms = [divergence_from_flat(concentration(alpha)).sum() for alpha in alphas.values()]
        penalty: Tensor = self.settings.strength * torch.stack(terms).sum()
        return penalty
