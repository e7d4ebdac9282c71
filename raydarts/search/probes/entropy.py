"""How undecided the arch weights are."""

from __future__ import annotations

from torch import Tensor

from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class Entropy(Probe):
    """Mean entropy of the arch weights in nats, for each cell type. 0 means decided.

    It is the mean over edges of -sum of p log p, where p are the edge's normalised arch weights. If the relaxation
    gives no distribution (a sigmoid), it is the mean over candidates of -p log p - (1 - p) log(1 - p).
    """

    NAME = "entropy"
    SOURCE = "Shannon entropy; log(num_ops) is undecided (log 2 for a candidate for itself), 0 decided"
    METRICS = ("entropy_*",)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        metrics: dict[str, float | int | None] = {}
        for name, weights in report.arch_weights.items():
            p = weights.detach().double()
            if report.simplex:
                p = p / p.sum(-1, keepdim=True).clamp_min(1e-300)
                terms = _information(p).sum(-1)
            else:
                p = p.clamp(0, 1)  # a remedy may have scaled them
                terms = _information(p) + _information(1 - p)
            metrics[f"entropy_{name}"] = float(terms.mean())
        return metrics


def _information(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-300).log())
