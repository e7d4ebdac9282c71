"""The DARTS convolutional space: its supernet, its discrete network (DARTS paper, section 3.1, appendix A)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.errors import GenotypeError
from raydarts.spaces.base import CellSpec, Edge, NetworkSize, Space
from raydarts.spaces.cells import DiscreteCell, DropPath, MixedCell
from raydarts.spaces.genotype import CellGenotype, Genotype
from raydarts.spaces.primitives import BUILDABLE
from raydarts.spaces.transform import MixedTransform

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NUM_INPUTS = 2


def reduction_layers(layers: int) -> set[int]:
    """Reduction cells stand at one and two thirds of the depth (paper, appendix A.1.1)."""
    return {layers // 3, 2 * layers // 3}


def dag(num_nodes: int) -> tuple[Edge, ...]:
    """Every node takes all the nodes before it: `sum(2 + i)` edges, 14 for four nodes."""
    return tuple(Edge(src, NUM_INPUTS + node) for node in range(num_nodes) for src in range(NUM_INPUTS + node))


@dataclass(frozen=True)
class StandardSize:
    """The paper's CIFAR-10 evaluation network, auxiliary head not counted."""

    channels: int = 36
    layers: int = 20
    auxiliary_weight: float = 0.0


class _Stack(nn.Module):
    """Stem, cells, pooling, classifier: what supernet and discrete network have in common."""

    def __init__(self, channels_in: int, channels: int, stem_multiplier: int) -> None:
        super().__init__()
        width = stem_multiplier * channels
        self.stem = nn.Sequential(nn.Conv2d(channels_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.cells = nn.ModuleList()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.width = width

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(x).flatten(1))  # type: ignore[no-any-return,operator]


class CnnSupernet(_Stack):
    """All candidates at once: `forward(inputs, arch_weights)` gives logits `(batch, classes)`.

    Differs from the authors' code in nothing that a value depends on: alpha is held outside, and work
    that depends on a source node alone is done once (see `primitives`).
    """

    def __init__(
        self, space: DartsCnn, channels_in: int, num_classes: int, transforms: Sequence[MixedTransform]
    ) -> None:
        settings = space.settings
        super().__init__(channels_in, settings.channels, settings.stem_multiplier)
        inputs, channels, reduced = (self.width, self.width), settings.channels, False
        for layer in range(settings.layers):
            reduction = layer in reduction_layers(settings.layers)
            channels *= 2 if reduction else 1
            cell_type = "reduce" if reduction else "normal"
            self.cells.append(
                MixedCell(
                    space.cells[cell_type], layer, cell_type, inputs, channels,
                    stride=2 if reduction else 1, previous_reduced=reduced, transforms=transforms,
                )
            )  # fmt: skip
            inputs, reduced = (inputs[1], settings.nodes * channels), reduction
        self.types = tuple(
            "reduce" if layer in reduction_layers(settings.layers) else "normal" for layer in range(settings.layers)
        )
        self.classifier = nn.Linear(inputs[1], num_classes)

    def forward(self, inputs: Tensor, arch_weights: Mapping[str, Tensor]) -> Tensor:
        s0 = s1 = self.stem(inputs)
        for cell_type, cell in zip(self.types, self.cells, strict=True):
            s0, s1 = s1, cell(s0, s1, arch_weights[cell_type])
        return self.classify(s1)


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier after the second reduction (paper: on 8x8 maps; smaller maps are pooled less)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
        self.widen = nn.Sequential(nn.Conv2d(128, 768, 2, bias=False), nn.BatchNorm2d(768), nn.ReLU())
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        # On 8x8 this is the authors' AvgPool2d(5, stride=3): a 2x2 map. Below that no window of 5 fits.
        x = nn.functional.avg_pool2d(x, 5, 3) if min(x.shape[2:]) >= 8 else nn.functional.adaptive_avg_pool2d(x, 2)
        return self.classifier(self.widen(self.reduce(x)).mean((2, 3)))  # type: ignore[no-any-return]


class CnnNetwork(_Stack):
    """A genotype's network. `forward(inputs)` gives `(logits, auxiliary logits or None)`."""

    def __init__(self, genotype: Genotype, channels_in: int, num_classes: int, size: NetworkSize) -> None:
        super().__init__(channels_in, size.channels, 3)
        self.drop_path = DropPath()
        inputs, channels, reduced = (self.width, self.width), size.channels, False
        self.auxiliary_at = 2 * size.layers // 3
        self.auxiliary: nn.Module | None = None
        for layer in range(size.layers):
            reduction = layer in reduction_layers(size.layers)
            channels *= 2 if reduction else 1
            cell = DiscreteCell(
                genotype["reduce" if reduction else "normal"], inputs, channels,
                stride=2 if reduction else 1, previous_reduced=reduced, drop_path=self.drop_path,
            )  # fmt: skip
            self.cells.append(cell)
            inputs, reduced = (inputs[1], cell.multiplier * channels), reduction
            if layer == self.auxiliary_at and size.auxiliary_weight > 0:
                self.auxiliary = AuxiliaryHead(inputs[1], num_classes)
        self.classifier = nn.Linear(inputs[1], num_classes)

    def set_drop_path(self, probability: float, generator: torch.Generator) -> None:
        """Drop paths with this probability in training, by this generator's draws."""
        self.drop_path.probability, self.drop_path.generator = probability, generator

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        s0 = s1 = self.stem(inputs)
        auxiliary = None
        for layer, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1)
            if layer == self.auxiliary_at and self.auxiliary is not None and self.training:
                auxiliary = self.auxiliary(s1)
        return self.classify(s1), auxiliary


class DartsCnn(Space):
    """The paper's convolutional cells: eight candidates, normal and reduction cells, four nodes, two inputs."""

    NAME = "darts-cnn"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055), section 3.1"

    class Settings(registry.Settings):
        channels: int = Field(16, ge=2)
        layers: int = Field(8, ge=3)
        nodes: int = Field(4, ge=1)
        stem_multiplier: int = Field(3, ge=1)

    @cached_property
    def cells(self) -> Mapping[str, CellSpec]:
        edges = dag(self.settings.nodes)
        spec = CellSpec(NUM_INPUTS, self.settings.nodes, edges, (PRIMITIVES,) * len(edges))
        return {"normal": spec, "reduce": spec}

    def supernet(
        self, image_shape: tuple[int, int, int], num_classes: int, transforms: Sequence[MixedTransform] = ()
    ) -> nn.Module:
        return CnnSupernet(self, image_shape[0], num_classes, transforms)

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

    def owns(self, genotype: Genotype) -> bool:
        # Published genotypes have primitives this space does not search, and any number of nodes.
        known = {*BUILDABLE}
        return set(genotype.cell_types) == set(self.cells) and all(
            primitive in known for _, cell in genotype.cells for primitive, _ in cell.edges()
        )

    def network(
        self, genotype: Genotype, image_shape: tuple[int, int, int], num_classes: int, settings: NetworkSize
    ) -> nn.Module:
        if not self.owns(genotype):
            raise GenotypeError(f"the genotype is not of space {self.NAME} (its primitives: {', '.join(BUILDABLE)})")
        return CnnNetwork(genotype, image_shape[0], num_classes, settings)

    def standard_network(self, genotype: Genotype) -> tuple[nn.Module, tuple[int, ...]]:
        return self.network(genotype, (3, 32, 32), 10, StandardSize()), (1, 3, 32, 32)
