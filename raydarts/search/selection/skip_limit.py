"""P-DARTS' limit on skip connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from raydarts.registry import Around, Idle
from raydarts.search.selection.argmax import Argmax
from raydarts.spaces import CellSpec, Genotype, Space
from raydarts.units import SkipConnections

_UNLIMITED = "reduce"
_STRUCK = float("-inf")


class SkipLimit(Argmax):
    """Picks as argmax does, then removes the weakest skip connections until at most `max_skips` are left.

    It acts in every cell type except `reduce`: the normal cell, or the only cell of NAS-Bench-201. While there are too
    many, the chosen skip connection with the smallest arch weight is struck out and everything is picked again: its
    edge takes its next candidate, or another edge takes its place. If an edge must be kept and has no other candidate
    (a narrowed space), the limit cannot be met. Then the strongest skip connections remain.
    """

    NAME = "skip_limit"
    SOURCE = "P-DARTS (Chen et al. 2019, arXiv 1904.12760), section 3.3"
    REMEDY = True
    FORMULA = "while skips(normal) > max_skips: w[weakest chosen skip] := 0; pick again"
    DIFFERS = (
        "The authors' code prints the genotypes of every limit from 8 to 0; the paper takes 2. It sets the struck "
        "weight to 0, ours to minus infinity: the same for a softmax, and right where others are 0 or below."
    )

    # A cell of one node has seldom more than one skip connection; with one edge a node it picks another cell.
    CONTRACT: ClassVar[Mapping[str, object]] = {"edges_per_node": 1}

    class Settings(Argmax.Settings):
        max_skips: SkipConnections = Field(2, ge=0, description="Most skip connections of the normal cell.")

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        space, limit = around.section.space.build(), self.settings.max_skips
        most = max(self._kept(space, cell) for name, cell in space.cells.items() if name != _UNLIMITED)
        if limit >= most:
            yield Idle("max_skips", f"is {limit}, and a cell keeps {most} edges: there are never too many; write less")

    def _kept(self, space: Space, cell: CellSpec) -> int:
        """Returns the largest number of edges that a cell of a genotype has."""
        each = self.settings.edges_per_node or space.EDGES_PER_NODE
        nodes = range(cell.num_inputs, cell.num_inputs + cell.num_nodes)
        kept = [len(cell.incoming(node)) for node in nodes]
        return sum(kept) if space.KEEPS_ALL_EDGES else sum(min(count, each) for count in kept)

    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        left = {name: weights.detach().double().cpu().clone() for name, weights in arch_weights.items()}
        for name, cell in space.cells.items():
            if name != _UNLIMITED:
                while self._strike(space, cell, left[name]):
                    pass
        return super().__call__(space, left)

    def _strike(self, space: Space, cell: CellSpec, weights: Tensor) -> bool:
        """Strikes out the weakest skip connection if too many are chosen. Returns False if none can be struck out."""
        chosen = [
            (index, cell.candidates[index].index(primitive))
            for index, primitive in self._pick(cell, weights.tolist(), space)
            if primitive == space.SKIP
        ]
        removable = [place for place in chosen if weights[place] > _STRUCK]
        if len(chosen) <= self.settings.max_skips or not removable:
            return False
        weights[min(removable, key=lambda place: float(weights[place]))] = _STRUCK
        return True
