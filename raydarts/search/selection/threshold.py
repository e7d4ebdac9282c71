"""FairDARTS' selection."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.selection.argmax import Argmax
from raydarts.spaces import CellSpec, Space


class Threshold(Argmax):
    """Keeps those of each node's strongest `edges_per_node` edges whose strongest candidate reaches `threshold`.

    So a node may keep fewer edges, or none, and is then zeros. If no edge of a whole cell passes, the cell is zeros.
    The genotype says so, and its network learns little. Lower the threshold or search longer. `none` is never chosen
    and does not rank an edge. In a space that keeps every edge (nasbench201), an edge whose strongest other candidate
    does not reach the threshold is `none`, and `edges_per_node` must not be set. null is two edges. Of equal edges the
    lower one wins, of equal candidates the earlier one.
    """

    NAME = "threshold"
    SOURCE = "FairDARTS (Chu et al. 2020, arXiv 1911.12126), section 4.3; threshold .85, at most two edges a node"
    REMEDY = True
    REQUIRES = ("relaxation:sigmoid",)
    FORMULA = "an edge stands if max sigmoid(alpha) >= threshold and it is among its node's two strongest"
    DIFFERS = (
        "The authors' code (`threshold_sparse`) leaves a node without edges out of the cell's output, and cannot build "
        "a cell of which nothing passes; here such nodes are zeros in the output: the same function, with idle "
        "weights behind them. Its variant with several candidates an edge is not offered."
    )

    class Settings(Argmax.Settings):
        threshold: float = Field(
            0.85,
            ge=0,
            le=1,
            description="Least arch weight of an edge's strongest candidate. Weaker edges are left out.",
        )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.settings.threshold == 0:
            yield Idle("threshold", "is 0, which every edge reaches; write a value above 0, or selection: argmax")

    def check(self, space: Space) -> None:
        super().check(space)
        if space.EXACT_EDGES and self.settings.threshold > 0:
            raise InputError(
                f"threshold: every node of space {space.registered} has {space.EDGES_PER_NODE} edge, and this "
                "selection leaves nodes without any; set threshold to 0, or select by argmax"
            )

    def _pick(self, spec: CellSpec, weights: list[list[float]], space: Space) -> list[tuple[int, str]]:
        best: list[tuple[float, str]] = []
        for row, candidates in zip(weights, spec.candidates, strict=True):
            pairs = [pair for pair in zip(row, candidates, strict=True) if pair[1] != space.ZERO]
            best.append(max(pairs, key=lambda pair: pair[0]))
        passed = [weight >= self.settings.threshold for weight, _ in best]
        if space.KEEPS_ALL_EDGES:
            return [(index, best[index][1] if passed[index] else space.ZERO) for index in range(len(best))]
        kept: list[int] = []
        for node in range(spec.num_inputs, spec.num_inputs + spec.num_nodes):
            ranked = sorted(spec.incoming(node), key=lambda index: (-best[index][0], index))
            strongest = ranked[: self.settings.edges_per_node or space.EDGES_PER_NODE]
            kept += sorted(index for index in strongest if passed[index])
        return [(index, best[index][1]) for index in kept]
