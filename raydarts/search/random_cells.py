"""Random cells of a space: how one is drawn, and how several healthy ones are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from raydarts.genotype_facts import network_cost
from raydarts.genotypes.facts import FACTS, cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Space
from raydarts.streams import Streams
from raydarts.study.bars import Bar, complaints
from raydarts.study.objectives import SearchScore
from raydarts.study.promotion import too_many_skips

STREAM = "random_cells"
_MOST_DRAWS, _MOST_BUILT = 5000, 200
"""Draws in a row without a new healthy cell. Then the space counts as exhausted. The second number is for bars on the
size of a network, which must be built.
"""
_SKIPS = "skips"
_OF_NETWORK = ("parameters", "flops")
"""Columns of the probe `network_cost`."""
EdgesOfNode = Callable[[str, int], int]
"""Returns how many edges a node of a cell type keeps. Nodes are counted from 0, inputs left out."""


def draw_cell(space: Space, generator: torch.Generator, edges_of_node: EdgesOfNode) -> Genotype:
    """Draws a genotype: for each node random incoming edges, and for each edge a random candidate.

    `none` is never drawn, except in a space that keeps all edges.
    """
    picks: dict[str, list[tuple[int, str]]] = {}
    for name, spec in space.cells.items():
        kept: list[int] = []
        for number in range(spec.num_nodes):
            edges = spec.incoming(spec.num_inputs + number)
            order = torch.randperm(len(edges), generator=generator).tolist()
            count = len(edges) if space.KEEPS_ALL_EDGES else edges_of_node(name, number)
            kept += sorted(edges[place] for place in order[:count])
        picks[name] = []
        for edge in kept:
            allowed = [
                primitive for primitive in spec.candidates[edge] if primitive != space.ZERO or space.KEEPS_ALL_EDGES
            ]
            picks[name].append((edge, allowed[int(torch.randint(len(allowed), (), generator=generator))]))
    return space.genotype(picks)


@dataclass(frozen=True)
class Size:
    """What a random cell has in common with a discovered one: the space, and the edges of each node.

    `edges` are by cell type. None: the space's rule.
    """

    space: Space
    edges: tuple[tuple[str, tuple[int, ...]], ...] | None = None

    @classmethod
    def of(cls, genotype: Genotype, spaces: Sequence[Space]) -> Size | None:
        """Returns the size of a genotype, or None if no space has cells with as many nodes."""
        named = None if genotype.space is None else genotype.space.name
        nodes = {name: len(cell.nodes) for name, cell in genotype.cells}
        for space in spaces:
            sizes = {name: spec.num_nodes for name, spec in space.cells.items()}
            if space.outside_name == named and sizes == nodes and space.owns(genotype):
                return cls(space, tuple((name, tuple(map(len, cell.nodes))) for name, cell in genotype.cells))
        return None

    def edges_of_node(self, cell_type: str, number: int) -> int:
        return self.space.EDGES_PER_NODE if self.edges is None else dict(self.edges)[cell_type][number]


@dataclass(frozen=True)
class Healthy:
    """The bars of a sweep as far as they are of a cell. Bars on figures of a supernet cannot be asked of a random cell.

    `bars` are on facts of the cell, `of_network` on the size of its network. The latter take longer to ask.
    """

    bars: tuple[Bar, ...]
    of_network: tuple[Bar, ...]
    max_skips: int | None

    @classmethod
    def of(cls, score: SearchScore, max_skips: int | None) -> Healthy:
        bars = (*score.health, *score.constraints)
        return cls(
            tuple(bar for bar in bars if bar.column in (*FACTS, _SKIPS)),
            tuple(bar for bar in bars if bar.column in _OF_NETWORK),
            max_skips,
        )

    def __call__(self, space: Space, genotype: Genotype) -> bool:
        skips = genotype.skips(space.SKIP)
        facts = {**cell_facts(genotype, space.kinds), _SKIPS: sum(skips.values())}
        if too_many_skips(skips, self.max_skips) or complaints(self.bars, facts):
            return False
        if not self.of_network:
            return True
        return not complaints(self.of_network, dict(zip(_OF_NETWORK, network_cost(space, genotype), strict=True)))


def spaces_of(drawn: Iterable[SearchSettings]) -> list[Space]:
    """Returns the distinct spaces of some searches, in their order."""
    return [
        space.build() for space in {settings.space.model_dump_json(): settings.space for settings in drawn}.values()
    ]


def draw_cells(
    sizes: Sequence[Size],
    count: int,
    seed: int,
    healthy: Healthy,
    taken: set[str],
    listed: set[str] | None = None,
) -> list[Genotype]:
    """Draws up to `count` distinct healthy cells, of the sizes in turn.

    They are fewer if the spaces hold no more that a long run of draws would meet. `seed` is the sweep's, of which this
    is a stream of its own. `taken` are ids that are not drawn. `listed` are the ids of the cells that a table has.
    None: there is no table.
    """
    generator = Streams(seed)[STREAM]
    kept: dict[str, Genotype] = {}
    missed, most = 0, _MOST_BUILT if healthy.of_network else _MOST_DRAWS
    while len(kept) < count and missed < most:
        size = sizes[len(kept) % len(sizes)]
        genotype = size.space.marked(draw_cell(size.space, generator, size.edges_of_node))
        new = genotype.id not in taken and genotype.id not in kept
        new = new and (listed is None or replace(genotype, space=None).id in listed)
        if new and healthy(size.space, genotype):
            kept[genotype.id] = genotype
            missed = 0
        else:
            missed += 1
    return list(kept.values())
