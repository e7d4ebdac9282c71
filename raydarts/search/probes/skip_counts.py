"""How many skip connections the genotype has now."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from raydarts.search.probes.base import Probe
from raydarts.spaces import Genotype, Space


class SkipCounts(Probe):
    """Edges of the genotype that are skip connections, for each cell type."""

    NAME = "skip_counts"
    SOURCE = "RobustDARTS (arXiv 1909.09656); DARTS+ (arXiv 1909.06035)"
    METRICS = ("skips_*",)

    def measure(self, space: Space, arch_weights: Mapping[str, Tensor], genotype: Genotype) -> dict[str, float | int]:
        return {f"skips_{name}": count for name, count in genotype.skips(space.SKIP).items()}
