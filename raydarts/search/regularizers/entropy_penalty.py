"""Decided arch weights."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.ramps import Ramp
from raydarts.search.regularizers.base import Alphas
from raydarts.search.regularizers.ramped import RampedPenalty


def mean_entropy(arch_weights: Alphas) -> Tensor:
    """Returns the mean over all edges of -sum of p log p, in nats.

    The input is `(..., num_edges, num_ops)` by cell type. p are an edge's arch weights divided by their sum. The
    function is differentiable, with a finite gradient, also at p = 0.
    """
    tiny = 1e-30
    rows = []
    for weights in arch_weights.values():
        p = weights / weights.sum(-1, keepdim=True).clamp_min(tiny)
        rows.append(-(p * p.clamp_min(tiny).log()).sum(-1).flatten())
    return torch.cat(rows).mean()


class EntropyPenalty(RampedPenalty):
    """Adds strength * mean entropy of the edges' arch weights to the loss that alpha descends. Decided edges pay less.

    Undecided edges lose the most when one candidate is picked (the discretisation gap). The mean covers all edges of
    all cell types. With `ramp: turning` the sign changes: the first half of the search is kept undecided.
    """

    NAME = "entropy_penalty"
    LANES = True
    SOURCE = (
        "DA2S (Tian et al. 2020, arXiv 2007.03154), the entropy of the candidates' softmax; DARTS-AER for `turning`"
    )
    FORMULA = "L_val + strength * ramp(epoch) * mean over edges of -sum over candidates of p log p, p = arch weights"
    DIFFERS = (
        "DA2S' code sums over edges (28 there) instead of averaging, with strength .1 times a linear ramp times a "
        "logarithmic one from epoch 8 on (about 2.8 on the mean at the end, our default); it adds the term to the "
        "weights' loss too, where it has no gradient, sharpens alpha before the softmax, and has a second entropy over "
        "a node's edges, which we leave out. DARTS-AER's code: entropy in bits of all candidates but the last, times "
        "-.2 * cos(pi * epoch / epochs), which is `ramp: turning, strength: 0.29` here. A relaxation that does not "
        "normalise (sigmoid) has its rows divided by their sums first."
    )

    class Settings(registry.Settings):
        strength: float = Field(2.8, ge=0, description="Factor on the penalty.")
        ramp: Ramp = Field("linear", description="How the strength changes over the epochs.")

        def may_change(self) -> tuple[str, ...]:
            return ("strength", "ramp")

    def term(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        return mean_entropy(arch_weights)
