"""What health checks judge of the current genotype."""

from __future__ import annotations

from raydarts.genotypes.facts import FACTS, cell_facts
from raydarts.search.moments import EpochReport
from raydarts.search.probes.base import Probe


class CellFacts(Probe):
    """Shares of skips and of edges without parameters, edges of noise or `none`, and cells that are cut off.

    The shares are those of the cell types that the space judges: the normal cell, or the only one.
    """

    NAME = "cell_facts"
    SOURCE = "ours: raydarts.genotypes.facts"
    METRICS = FACTS

    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        return dict(cell_facts(report.genotype, report.space.kinds))
