"""The number of skip connections in the current genotype."""

from __future__ import annotations

from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class SkipCounts(Probe):
    """Number of the genotype's edges that are skip connections, for each cell type."""

    NAME = "skip_counts"
    SOURCE = "RobustDARTS (arXiv 1909.09656); DARTS+ (arXiv 1909.06035)"
    METRICS = ("skips_*",)

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        return {f"skips_{name}": count for name, count in report.genotype.skips(report.space.SKIP).items()}
