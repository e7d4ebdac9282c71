"""The space of NAS-Bench-201: one cell of four nodes, every edge kept, five candidates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.errors import GenotypeError, InputError
from raydarts.genotypes.genotype import CellGenotype, Genotype
from raydarts.spaces.base import CellSpec, Edge, NetworkSize, Space
from raydarts.spaces.cells import DiscreteGraph, DropPath, MixedGraph
from raydarts.spaces.drawn import draw_from
from raydarts.spaces.lanes import linear, pool
from raydarts.spaces.primitives import batch_norm, convolution
from raydarts.spaces.transform import MixedTransform, by_layer
from raydarts.tasks import Classification, Task, required
from raydarts.units import Channels, StackedCells

PRIMITIVES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = tuple(Edge(src, dst) for dst in range(1, 4) for src in range(dst))
STAGES = 3


@dataclass(frozen=True)
class StandardSize:
    """The benchmark's network: 16 channels, three stages of five cells, no auxiliary head."""

    channels: int = 16
    layers: int = 15
    auxiliary_weight: float = 0.0
    stem: Literal["cifar", "imagenet"] = "cifar"


class ResidualBlock(nn.Module):
    """Stands between stages: doubles the channels and halves the resolution.

    Two 3x3 convolutions beside a pooled 1x1 convolution.
    """

    def __init__(self, channels: int, affine: bool, lanes: int = 1) -> None:
        super().__init__()
        wide = 2 * channels
        self.body = nn.Sequential(
            nn.ReLU(),
            convolution(channels, wide, 3, lanes, stride=2, padding=1),
            batch_norm(wide, affine, lanes),
            nn.ReLU(),
            convolution(wide, wide, 3, lanes, padding=1),
            batch_norm(wide, affine, lanes),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, stride=2, ceil_mode=True), convolution(channels, wide, 1, lanes))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


class _Skeleton(nn.Module):
    """Stem, stages of cells with residual blocks between them, batch norm, pooling, classifier."""

    def __init__(
        self, channels_in: int, channels: int, per_stage: int, num_classes: int, affine: bool, lanes: int = 1
    ) -> None:
        super().__init__()
        self.per_stage, self.lanes = per_stage, lanes
        self.stem = nn.Sequential(
            convolution(channels_in, channels, 3, lanes, padding=1), batch_norm(channels, lanes=lanes)
        )
        self.stages = nn.ModuleList()
        layer = 0
        for stage in range(STAGES):
            cells = [self.cell(layer + number, channels * 2**stage) for number in range(per_stage)]
            layer += per_stage
            self.stages.append(nn.ModuleList(cells))
        self.between = nn.ModuleList(ResidualBlock(channels * 2**stage, affine, lanes) for stage in range(STAGES - 1))
        width = channels * 2 ** (STAGES - 1)
        self.last = nn.Sequential(batch_norm(width, lanes=lanes), nn.ReLU(), pool(lanes))
        self.classifier = linear(width, num_classes, lanes)

    def cell(self, layer: int, channels: int) -> nn.Module:
        raise NotImplementedError

    def run(self, inputs: Tensor, of_layers: Iterable[tuple[Tensor, ...]]) -> Tensor:
        """Runs the network. `of_layers` is what each cell receives beside its input."""
        x = self.stem(inputs)
        arguments = iter(of_layers)
        for stage, cells in enumerate(self.stages):
            if stage:
                x = self.between[stage - 1](x)
            for cell in cells.children():
                x = cell(x, *next(arguments))
        return self.classifier(self.last(x))  # type: ignore[no-any-return]


class _MixedCell(MixedGraph):
    def forward(self, x: Tensor, arch_weights: Tensor) -> Tensor:
        return self.nodes((x,), arch_weights)[-1]


class _DiscreteCell(DiscreteGraph):
    def forward(self, x: Tensor) -> Tensor:
        return self.nodes((x,))[-1]


class Supernet(_Skeleton):
    """`forward(inputs, arch_weights)` returns logits. All cells share one alpha. Their batch norms are not affine."""

    def __init__(
        self,
        space: NasBench201,
        channels_in: int,
        num_classes: int,
        transforms: Sequence[MixedTransform],
        lanes: int = 1,
    ) -> None:
        self.spec, self.transforms = space.cells["cell"], transforms
        settings = space.settings
        super().__init__(channels_in, settings.channels, settings.cells_per_stage, num_classes, False, lanes)
        self.types = ("cell",) * (STAGES * self.per_stage)

    def layers(self, inputs: Tensor | None = None) -> Mapping[str, int]:
        return Counter(self.types)

    def cell(self, layer: int, channels: int) -> nn.Module:
        return _MixedCell(
            self.spec, layer, "cell", channels,
            stride=1, transforms=self.transforms, normalised=False, lanes=self.lanes,
        )  # fmt: skip

    def forward(self, inputs: Tensor, arch_weights: Mapping[str, Tensor]) -> Tensor:
        return self.run(inputs, ((weights,) for weights in by_layer(self.types, arch_weights, self.lanes)))


class Network(_Skeleton):
    """A genotype's network. `forward(inputs)` returns `(logits, None)`, because there is no auxiliary head."""

    def __init__(self, genotype: Genotype, channels_in: int, num_classes: int, size: NetworkSize) -> None:
        self.genotype, self.drop_path = genotype["cell"], DropPath()
        super().__init__(channels_in, size.channels, size.layers // STAGES, num_classes, affine=True)

    def cell(self, layer: int, channels: int) -> nn.Module:
        return _DiscreteCell(self.genotype, 1, channels, stride=1, drop_path=self.drop_path)

    def draw_from(self, generator: torch.Generator) -> None:
        """Makes all random draws come from this generator."""
        self.drop_path.generator = generator
        draw_from(self, generator)

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        return self.run(inputs, repeat(())), None


class NasBench201(Space):
    """NAS-Bench-201: one cell with six edges. Each edge keeps one of five primitives (`none` too). 15,625 cells."""

    NAME = "nasbench201"
    SOURCE = "Dong, Yang 2020 (arXiv 2001.00326), section 2"
    LANES: ClassVar[bool] = True
    KEEPS_ALL_EDGES: ClassVar[bool] = True
    SEARCH_ONLY: ClassVar[frozenset[str]] = frozenset({"channels", "cells_per_stage"})

    class Settings(registry.Settings):
        channels: Channels = Field(16, ge=2, description="Channels of the first of the three stages.")
        cells_per_stage: StackedCells = Field(5, ge=1, description="Cells in each of the three stages.")

    @cached_property
    def cells(self) -> Mapping[str, CellSpec]:
        return {"cell": CellSpec(1, 3, EDGES, (PRIMITIVES,) * len(EDGES))}

    def supernet(self, task: Task, transforms: Sequence[MixedTransform] = (), lanes: int = 1) -> nn.Module:
        images = required(task, Classification)
        return Supernet(self, images.image_shape[0], images.num_classes, transforms, lanes)

    def genotype(self, picks: Mapping[str, Sequence[tuple[int, str]]]) -> Genotype:
        nodes = tuple(
            tuple((primitive, EDGES[index].src) for index, primitive in picks["cell"] if EDGES[index].dst == node)
            for node in range(1, 4)
        )
        return Genotype((("cell", CellGenotype(nodes, (3,))),))

    def network(self, genotype: Genotype, task: Task, settings: NetworkSize) -> nn.Module:
        images = required(task, Classification)
        if not self.owns(genotype):
            raise GenotypeError(f"the genotype is not of space {self.registered} (primitives: {', '.join(PRIMITIVES)})")
        self.check_network(settings)
        return Network(genotype, images.image_shape[0], images.num_classes, settings)

    def check_network(self, settings: NetworkSize) -> None:
        wrong = []
        if settings.layers % STAGES:
            wrong.append(f"layers must be a multiple of {STAGES} (the benchmark's: 15), not {settings.layers}")
        if settings.auxiliary_weight:
            wrong.append(f"auxiliary_weight must be 0 (there is no auxiliary head), not {settings.auxiliary_weight:g}")
        if settings.stem != "cifar":
            wrong.append(f"stem must be cifar, not {settings.stem}")
        if wrong:
            raise InputError(f"a network of space {self.registered}: {'; '.join(wrong)}")

    def standard_network(self, genotype: Genotype) -> tuple[nn.Module, Tensor]:
        return self.network(genotype, Classification((3, 32, 32), 10), StandardSize()), torch.empty(1, 3, 32, 32)


def arch_string(genotype: Genotype) -> str:
    """Returns the benchmark's notation: `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`.

    Raises `GenotypeError` if an edge is missing or occurs twice. The benchmark's cells have all six.
    """
    nodes = genotype["cell"].nodes
    lines = [sorted(node, key=lambda edge: edge[1]) for node in nodes]
    if [[src for _, src in line] for line in lines] != [[0], [0, 1], [0, 1, 2]]:
        raise GenotypeError("a cell of nasbench201 has one primitive, `none` perhaps, on each of its six edges")
    return "+".join("|" + "|".join(f"{primitive}~{src}" for primitive, src in line) + "|" for line in lines)
