"""How undecided the arch weights are."""

from __future__ import annotations

from torch import Tensor

from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class Entropy(Probe):
    """Mean entropy of the arch weights in nats, for each cell type: 0 is decided.

    Over edges, of an edge's normalised arch weights: -sum of p log p. Where the relaxation gives no distribution
    (a sigmoid) the mean is over candidates, each for itself: -p log p - (1 - p) log(1 - p).
    """

    NAME = "entropy"
    SOURCE = "Shannon entropy; log(num_ops) is undecided (log 2 for a candidate for itself), 0 decided"
    METRICS = ("entropy_*",)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        found: dict[str, float | int | None] = {}
        for name, weights in report.arch_weights.items():
            p = weights.detach().double()
            if report.simplex:
                p = p / p.sum(-1, keepdim=True).clamp_min(1e-300)
                terms = _information(p).sum(-1)
            else:
                p = p.clamp(0, 1)  # a remedy may have scaled them
                terms = _information(p) + _information(1 - p)
            found[f"entropy_{name}"] = float(terms.mean())
        return found


def _information(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log())
