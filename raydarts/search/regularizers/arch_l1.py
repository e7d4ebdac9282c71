"""L1 on alpha."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.ramps import Ramp
from raydarts.search.regularizers.base import Alphas
from raydarts.search.regularizers.ramped import RampedPenalty


class ArchL1(RampedPenalty):
    """Adds strength * mean over edges of sum |alpha| to the loss that alpha descends.

    The mean covers all edges of all cell types. The penalty is not on the arch weights: each row of a softmax sums to
    1, so its L1 norm is constant. On alpha it pulls every candidate to 0 at the same speed. A candidate leads only if
    the data's gradient keeps pushing it.
    """

    NAME = "arch_l1"
    LANES = True
    SOURCE = "DSO-NAS (Zhang et al. 2018, arXiv 1811.01567): L1 on the factors that scale the candidates"
    FORMULA = "L_val + strength * ramp(epoch) * mean over edges of sum over candidates of |alpha|"
    DIFFERS = (
        "DSO-NAS scales each candidate by a free factor, without a softmax, and descends by accelerated proximal "
        "gradient, which gives exact zeros; here alpha keeps its relaxation and Adam follows the subgradient (0 at 0). "
        "The default strength is ours: no paper has one for alpha under a softmax."
    )

    class Settings(registry.Settings):
        strength: float = Field(0.1, ge=0, description="Factor on the penalty.")
        ramp: Ramp = Field("constant", description="How the strength changes over the epochs.")

        def may_change(self) -> tuple[str, ...]:
            return ("strength", "ramp")

    def term(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        return torch.cat([alpha.abs().sum(-1) for alpha in alphas.values()]).mean()
