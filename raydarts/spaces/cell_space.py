"""What the spaces of DARTS cells share: normal and reduction cells, two inputs, stacked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field
from torch import nn

from raydarts import registry
from raydarts.errors import GenotypeError
from raydarts.spaces.base import CellSpec, Edge, NetworkSize, Space
from raydarts.spaces.genotype import CellGenotype, Genotype
from raydarts.spaces.networks import CnnNetwork, CnnSupernet, stem
from raydarts.spaces.primitives import STRIDED
from raydarts.spaces.transform import MixedTransform

NUM_INPUTS = 2
CELL_TYPES = ("normal", "reduce")


def dag(num_nodes: int) -> tuple[Edge, ...]:
    """Every node takes all the nodes before it: `sum(2 + i)` edges, 14 for four nodes."""
    return tuple(Edge(src, NUM_INPUTS + node) for node in range(num_nodes) for src in range(NUM_INPUTS + node))


@dataclass(frozen=True)
class StandardSize:
    """The paper's CIFAR-10 evaluation network, auxiliary head not counted."""

    channels: int = 36
    layers: int = 20
    auxiliary_weight: float = 0.0
    stem: Literal["cifar", "imagenet"] = "cifar"


class CellSpace(Space):
    """A space of DARTS cells; a member says which primitives stand on which edge.

    `stem`: `cifar`, or `imagenet` (three convolutions of stride 2 before the first cell).
    """

    class Settings(registry.Settings):
        channels: int = Field(16, ge=2)
        layers: int = Field(8, ge=3)
        stem_multiplier: int = Field(3, ge=1)
        stem: Literal["cifar", "imagenet"] = "cifar"

    @property
    def num_nodes(self) -> int:
        """Intermediate nodes of a cell."""
        return 4

    @abstractmethod
    def candidates(self, cell_type: str, edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
        """The primitives of each edge; equally many on each."""

    @cached_property
    def cells(self) -> Mapping[str, CellSpec]:
        edges = dag(self.num_nodes)
        return {name: CellSpec(NUM_INPUTS, self.num_nodes, edges, self.candidates(name, edges)) for name in CELL_TYPES}

    def supernet(
        self, image_shape: tuple[int, int, int], num_classes: int, transforms: Sequence[MixedTransform] = ()
    ) -> nn.Module:
        settings = self.settings
        entry = stem(settings.stem, image_shape[0], settings.channels, settings.stem_multiplier)
        return CnnSupernet(self.cells, entry, settings.channels, settings.layers, num_classes, transforms)

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

    def network(
        self, genotype: Genotype, image_shape: tuple[int, int, int], num_classes: int, settings: NetworkSize
    ) -> nn.Module:
        # Published genotypes have primitives that no space searches, and any number of nodes.
        primitives = {primitive for _, cell in genotype.cells for primitive, _ in cell.edges()}
        if set(genotype.cell_types) != set(CELL_TYPES) or not primitives <= set(STRIDED):
            raise GenotypeError(f"the genotype is not of space {self.NAME} (primitives: {', '.join(STRIDED)})")
        return CnnNetwork(genotype, image_shape[0], num_classes, settings)

    def standard_network(self, genotype: Genotype) -> tuple[nn.Module, tuple[int, ...]]:
        return self.network(genotype, (3, 32, 32), 10, StandardSize()), (1, 3, 32, 32)
