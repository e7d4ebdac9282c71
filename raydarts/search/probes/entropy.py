"""How undecided the arch weights are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from raydarts.search.probes.base import Probe
from raydarts.spaces import Genotype, Space


class Entropy(Probe):
    """Mean over edges of -sum of p log p of the normalised arch weights, in nats, for each cell type."""

    NAME = "entropy"
    SOURCE = "Shannon entropy; log(num_ops) is undecided, 0 decided"
    METRICS = ("entropy_*",)

    def measure(self, space: Space, arch_weights: Mapping[str, Tensor], genotype: Genotype) -> dict[str, float | int]:
        found: dict[str, float | int] = {}
        for name, weights in arch_weights.items():
            p = weights.detach().double()
            p = p / p.sum(-1, keepdim=True)
            found[f"entropy_{name}"] = float(-(p * p.clamp_min(1e-300).log()).sum(-1).mean())
        return found
