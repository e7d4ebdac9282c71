"""The paper's selection."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.selection.base import Selection, require_edges
from raydarts.spaces import CellSpec, Genotype, Space
from raydarts.units import Edges


class Argmax(Selection):
    """Each node keeps the `edges_per_node` incoming edges whose strongest candidate other than `none` is strongest.

    In a space that keeps every edge (nasbench201), each edge takes its strongest candidate, which may be `none`, and
    `edges_per_node` must not be set. null is the space's rule: one edge in darts-rnn, which has no more, and two
    elsewhere. Of equal edges the lower one wins, of equal candidates the earlier one. So equal weights give one
    genotype.
    """

    NAME = "argmax"
    SOURCE = "DARTS (arXiv 1806.09055), section 2.4"

    class Settings(registry.Settings):
        edges_per_node: Edges | None = Field(
            None, ge=1, description="Incoming edges that each node keeps. `null` is the space's rule."
        )

    def check(self, space: Space) -> None:
        require_edges(space, self.settings.edges_per_node)

    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        self.check(space)
        picks = {
            name: self._pick(spec, arch_weights[name].detach().double().cpu().tolist(), space)
            for name, spec in space.cells.items()
        }
        return space.genotype(picks)

    def _pick(self, spec: CellSpec, weights: list[list[float]], space: Space) -> list[tuple[int, str]]:
        best: dict[int, tuple[float, str]] = {}
        for index, (row, candidates) in enumerate(zip(weights, spec.candidates, strict=True)):
            pairs = [
                (weight, primitive)
                for weight, primitive in zip(row, candidates, strict=True)
                if primitive != space.ZERO or space.KEEPS_ALL_EDGES
            ]
            best[index] = max(pairs, key=lambda pair: pair[0])
        if space.KEEPS_ALL_EDGES:
            return [(index, primitive) for index, (_, primitive) in best.items()]
        kept: list[int] = []
        for node in range(spec.num_inputs, spec.num_inputs + spec.num_nodes):
            ranked = sorted(spec.incoming(node), key=lambda index: (-best[index][0], index))
            kept += sorted(ranked[: self.settings.edges_per_node or space.EDGES_PER_NODE])
        return [(index, best[index][1]) for index in kept]
