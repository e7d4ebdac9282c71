"""Networks of stacked DARTS cells: stems, the supernet, a genotype's network (DARTS paper, appendix A)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from raydarts.genotypes.genotype import Genotype
from raydarts.spaces.base import CellSpec, NetworkSize
from raydarts.spaces.cells import DiscreteCell, DropPath, MixedCell
from raydarts.spaces.drawn import draw_from
from raydarts.spaces.lanes import linear, pool
from raydarts.spaces.primitives import batch_norm, convolution
from raydarts.spaces.transform import MixedTransform, by_layer


def reduction_layers(layers: int) -> set[int]:
    """Returns the layers of the reduction cells: at one and two thirds of the depth (paper, appendix A.1.1)."""
    return {layers // 3, 2 * layers // 3}


class CifarStem(nn.Module):
    """A 3x3 convolution at full resolution. Its output is both inputs of the first cell."""

    reduces = False

    def __init__(self, channels_in: int, width: int, lanes: int = 1) -> None:
        super().__init__()
        self.width = width
        self.op = nn.Sequential(convolution(channels_in, width, 3, lanes, padding=1), batch_norm(width, lanes=lanes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s = self.op(x)
        return s, s


class ImagenetStem(nn.Module):
    """Three 3x3 convolutions of stride 2.

    The inputs of the first cell are at a quarter and an eighth of the resolution.
    """

    reduces = True

    def __init__(self, channels_in: int, width: int, lanes: int = 1) -> None:
        super().__init__()
        self.width = width
        self.quarter = nn.Sequential(
            convolution(channels_in, width // 2, 3, lanes, stride=2, padding=1),
            batch_norm(width // 2, lanes=lanes),
            nn.ReLU(),
            convolution(width // 2, width, 3, lanes, stride=2, padding=1),
            batch_norm(width, lanes=lanes),
        )
        self.eighth = nn.Sequential(
            nn.ReLU(), convolution(width, width, 3, lanes, stride=2, padding=1), batch_norm(width, lanes=lanes)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(x)
        return quarter, self.eighth(quarter)


def stem(kind: str, channels_in: int, channels: int, multiplier: int, lanes: int = 1) -> CifarStem | ImagenetStem:
    """Returns the stem. `cifar` widens by `multiplier`. `imagenet` has the cells' width and ignores the multiplier."""
    if kind == "imagenet":
        return ImagenetStem(channels_in, channels, lanes)
    return CifarStem(channels_in, multiplier * channels, lanes)


class _Stack(nn.Module):
    """Stem, cells, pooling, classifier: what supernet and discrete network share."""

    def __init__(self, entry: CifarStem | ImagenetStem, lanes: int = 1) -> None:
        super().__init__()
        self.stem = entry
        self.cells = nn.ModuleList()
        self.pool = pool(lanes)

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(x))  # type: ignore[no-any-return,operator]


class CnnSupernet(_Stack):
    """All candidates at once: `forward(inputs, arch_weights)` returns logits `(batch, classes)`.

    Arch weights of a cell type are `(num_edges, num_ops)` or `(layers of the type, num_edges, num_ops)`. With `lanes`
    above 1 they have a first dimension of lanes, inputs are `(batch, lanes * channels, H, W)`, and logits
    `(lanes, batch, classes)`.

    The values equal those of the authors' code. Two things are organised differently: alpha is held outside, and work
    that depends only on a source node is done once (see `primitives`).
    """

    def __init__(
        self,
        cells: Mapping[str, CellSpec],
        entry: CifarStem | ImagenetStem,
        channels: int,
        layers: int,
        num_classes: int,
        transforms: Sequence[MixedTransform],
        lanes: int = 1,
    ) -> None:
        super().__init__(entry, lanes)
        self.lanes = lanes
        inputs, reduced = (entry.width, entry.width), entry.reduces
        self.types = tuple("reduce" if layer in reduction_layers(layers) else "normal" for layer in range(layers))
        for layer, cell_type in enumerate(self.types):
            reduction = cell_type == "reduce"
            channels *= 2 if reduction else 1
            self.cells.append(
                MixedCell(
                    cells[cell_type], layer, cell_type, inputs, channels,
                    stride=2 if reduction else 1, previous_reduced=reduced, transforms=transforms, lanes=lanes,
                )
            )  # fmt: skip
            inputs, reduced = (inputs[1], cells[cell_type].num_nodes * channels), reduction
        self.classifier = linear(inputs[1], num_classes, lanes)

    def layers(self, inputs: Tensor | None = None) -> Mapping[str, int]:
        return Counter(self.types)

    def forward(self, inputs: Tensor, arch_weights: Mapping[str, Tensor]) -> Tensor:
        s0, s1 = self.stem(inputs)
        of_layers = by_layer(self.types, arch_weights, self.lanes)
        for weights, cell in zip(of_layers, self.cells, strict=True):
            s0, s1 = s1, cell(s0, s1, weights)
        return self.classify(s1)


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier after the second reduction.

    On CIFAR's 8x8 maps an average pool of 5, stride 3, makes 2x2 of them. Smaller maps are pooled to 2x2 too. On
    ImageNet's 7x7 maps its stride is 2. The authors' ImageNet head has no batch norm after its last convolution, an
    oversight that they keep for the paper's numbers. Ours has none either.
    """

    def __init__(self, channels: int, num_classes: int, *, imagenet: bool = False) -> None:
        super().__init__()
        self.stride = 2 if imagenet else 3
        self.reduce = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
        norm: nn.Module = nn.Identity() if imagenet else nn.BatchNorm2d(768)
        self.widen = nn.Sequential(nn.Conv2d(128, 768, 2, bias=False), norm, nn.ReLU())
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        large = min(x.shape[2:]) >= 5 + self.stride
        x = nn.functional.avg_pool2d(x, 5, self.stride) if large else nn.functional.adaptive_avg_pool2d(x, 2)
        return self.classifier(self.widen(self.reduce(x)).mean((2, 3)))  # type: ignore[no-any-return]


class CnnNetwork(_Stack):
    """A genotype's network. `forward(inputs)` returns `(logits, auxiliary logits or None)`."""

    def __init__(self, genotype: Genotype, channels_in: int, num_classes: int, size: NetworkSize) -> None:
        entry = stem(size.stem, channels_in, size.channels, 3)
        super().__init__(entry)
        self.drop_path = DropPath()
        inputs, channels, reduced = (entry.width, entry.width), size.channels, entry.reduces
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
                self.auxiliary = AuxiliaryHead(inputs[1], num_classes, imagenet=size.stem == "imagenet")
        self.classifier = nn.Linear(inputs[1], num_classes)

    def draw_from(self, generator: torch.Generator) -> None:
        """Makes all random draws, in drop-path and in noise, come from this generator."""
        self.drop_path.generator = generator
        draw_from(self, generator)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        s0, s1 = self.stem(inputs)
        auxiliary = None
        for layer, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1)
            if layer == self.auxiliary_at and self.auxiliary is not None and self.training:
                auxiliary = self.auxiliary(s1)
        return self.classify(s1), auxiliary
