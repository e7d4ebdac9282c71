"""How undecided the arch weights are."""

from __future__ import annotations

from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class Entropy(Probe):
    """Mean over edges of -sum of p log p of the normalised arch weights, in nats, for each cell type."""

    NAME = "entropy"
    SOURCE = "Shannon entropy; log(num_ops) is undecided, 0 decided"
    METRICS = ("entropy_*",)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        found: dict[str, float | int | None] = {}
        for name, weights in report.arch_weights.items():
            p = weights.detach().double()
            p = p / p.sum(-1, keepdim=True).clamp_min(1e-300)
            found[f"entropy_{name}"] = float(-(p * p.clamp_min(1e-300).log()).sum(-1).mean())
        return found
