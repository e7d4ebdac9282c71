"""What the spaces of DARTS cells share: normal and reduction cells, two inputs, stacked cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.errors import GenotypeError
from raydarts.genotypes.genotype import CellGenotype, Genotype
from raydarts.spaces.base import CellSpec, Edge, NetworkSize, Space
from raydarts.spaces.networks import CnnNetwork, CnnSupernet, stem
from raydarts.spaces.primitives import STRIDED, is_strided
from raydarts.spaces.transform import MixedTransform
from raydarts.tasks import Classification, Task, required
from raydarts.units import Channels, Nodes, StackedCells

NUM_INPUTS = 2
CELL_TYPES = ("normal", "reduce")


def dag(num_nodes: int) -> tuple[Edge, ...]:
    """Returns the edges from all earlier nodes to each node: `sum(2 + i)` edges, 14 for four nodes."""
    return tuple(Edge(src, NUM_INPUTS + node) for node in range(num_nodes) for src in range(NUM_INPUTS + node))


@dataclass(frozen=True)
class StandardSize:
    """The size of the paper's CIFAR-10 evaluation network. The auxiliary head is not counted."""

    channels: int = 36
    layers: int = 20
    auxiliary_weight: float = 0.0
    stem: Literal["cifar", "imagenet"] = "cifar"


class CellSpace(Space):
    """A space of DARTS cells. A subclass says which primitives each edge has."""

    SEARCH_ONLY: ClassVar[frozenset[str]] = frozenset({"channels", "layers", "stem_multiplier", "stem"})

    class Settings(registry.Settings):
        channels: Channels = Field(16, ge=2, description="Channels of the supernet's first cell.")
        layers: StackedCells = Field(8, ge=3, description="Cells that the supernet stacks.")
        stem_multiplier: int = Field(3, ge=1, description="The stem has this many times `channels` channels.")
        stem: Literal["cifar", "imagenet"] = Field(
            "cifar", description="`cifar` is one 3x3 convolution. `imagenet` is three convolutions of stride 2."
        )

    @property
    def num_nodes(self) -> int:
        """Number of intermediate nodes of a cell."""
        return 4

    @abstractmethod
    def candidates(self, cell_type: str, edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
        """The primitives of each edge. Every edge has equally many."""

    @cached_property
    def cells(self) -> Mapping[str, CellSpec]:
        edges = dag(self.num_nodes)
        return {name: CellSpec(NUM_INPUTS, self.num_nodes, edges, self.candidates(name, edges)) for name in CELL_TYPES}

    def supernet(self, task: Task, transforms: Sequence[MixedTransform] = (), lanes: int = 1) -> nn.Module:
        images, settings = required(task, Classification), self.settings
        entry = stem(settings.stem, images.image_shape[0], settings.channels, settings.stem_multiplier, lanes)
        return CnnSupernet(self.cells, entry, settings.channels, settings.layers, images.num_classes, transforms, lanes)

    def genotype(self, picks: Mapping[str, Sequence[tuple[int, str]]]) -> Genotype:
        cells = []
        for name, spec in self.cells.items():
            nodes = range(NUM_INPUTS, NUM_INPUTS + spec.num_nodes)
            chosen = tuple(
                tuple(
                    (primitive, spec.edges[index].src)
                    for index, primitive in picks[name]
                    if spec.edges[index].dst == node
                )
                for node in nodes
            )
            cells.append((name, CellGenotype(chosen, tuple(nodes))))
        return Genotype(tuple(cells))

    def network(self, genotype: Genotype, task: Task, settings: NetworkSize) -> nn.Module:
        images = required(task, Classification)
        # Published genotypes have primitives that no space searches, and any number of nodes.
        primitives = {primitive for _, cell in genotype.cells for primitive, _ in cell.edges()}
        others = {primitive for primitive in primitives if not is_strided(primitive)}
        if set(genotype.cell_types) != set(CELL_TYPES) or (others and not self.owns(genotype)):
            raise GenotypeError(f"the genotype is not of space {self.registered} (primitives: {', '.join(STRIDED)})")
        return CnnNetwork(genotype, images.image_shape[0], images.num_classes, settings)

    def standard_network(self, genotype: Genotype) -> tuple[nn.Module, Tensor]:
        return self.network(genotype, Classification((3, 32, 32), 10), StandardSize()), torch.empty(1, 3, 32, 32)


class UniformCells(CellSpace):
    """A space of DARTS cells with any number of nodes, and the same candidates on every edge: `PRIMITIVES`."""

    PRIMITIVES: ClassVar[tuple[str, ...]]

    class Settings(CellSpace.Settings):
        nodes: Nodes = Field(4, ge=1, description="Intermediate nodes of a cell.")

    @property
    def num_nodes(self) -> int:
        return int(self.settings.nodes)

    def candidates(self, cell_type: str, edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
        return (self.PRIMITIVES,) * len(edges)
