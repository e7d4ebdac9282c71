"""The candidate operations of the DARTS convolutional space (DARTS paper, section 3.1; appendix A.1).

Operations that start with a ReLU in the paper are written without it here. They set `PREACTIVATED`, and their input is
relu(x). The ReLU depends only on the source node. So a cell computes it once for each node, not once for each edge and
primitive. The same holds for operations without parameters, which set `SHARED`. The others take their arch weight as
`scale`. An operation that ends in a batch norm makes `scale` that norm's factor. So neither the weighted output nor its
gradient needs a pass of its own. None of this changes a sum (tested against a plain loop).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from raydarts import outside
from raydarts.errors import InputError
from raydarts.spaces.convolution import Convolution
from raydarts.spaces.depthwise import DepthwiseConv2d
from raydarts.spaces.drawn import Drawing, draw_each
from raydarts.spaces.lanes import count_lanes, weighted
from raydarts.spaces.layout import AvgPool2d, Halved, concatenate
from raydarts.spaces.second_derivatives import BatchNorm, twice


class Norm(nn.BatchNorm2d):
    """Batch norm over `(batch, C, H, W)`. `scale` multiplies its output: a scalar tensor, or one entry a channel."""

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        if scale is None:
            return self._normed(x, self.weight, self.bias)
        if self.affine:
            return (scale if scale.dim() == 0 else scale.view(-1, 1, 1)) * self._normed(x, self.weight, self.bias)
        # Dense, because the CPU's kernel ignores its stride.
        return self._normed(x, scale.expand(self.num_features).contiguous(), None)

    def _normed(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        tracked = self.track_running_stats or not self.training
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        running = (self.running_mean, self.running_var) if tracked else (None, None)
        if self.training and twice(x):
            return BatchNorm.apply(x, weight, bias, *running, self.momentum, self.eps)  # type: ignore[no-any-return]
        return nn.functional.batch_norm(
            x,
            *running,
            weight=weight,
            bias=bias,
            training=self.training,
            momentum=self.momentum,  # type: ignore[arg-type]
            eps=self.eps,
        )


def batch_norm(channels: int, affine: bool = True, lanes: int = 1) -> Norm:
    """Returns a batch norm of each lane's `channels`."""
    norm = Norm(lanes * channels, affine=affine)
    count_lanes(norm, lanes)
    return norm


def convolution(
    channels_in: int, channels_out: int, kernel: int, lanes: int = 1, *, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    """Returns a convolution without bias, of each lane by itself.

    With lanes it is one convolution with a group for each. On a CPU that was the fastest at nearly all sizes: a loop
    over the lanes copies each one out and in, and batched products of patches move nine times the values.
    docs/benchmarks.md has the figures.
    """
    return Convolution(
        lanes * channels_in, lanes * channels_out, kernel, stride=stride, padding=padding, groups=lanes, bias=False
    )


class Operation(nn.Module):
    """Base of the candidates: `(batch, C, H, W)` to `(batch, C, H / stride, W / stride)`, times `scale` if given.

    `scale` is a scalar tensor. With lanes it is `(C,)`, and C counts the channels of all lanes.
    """

    PREACTIVATED: ClassVar[bool] = False
    SHARED: ClassVar[bool] = False
    halves: bool = False  # `forward` also takes its input's `Halved`, if the caller has it


class Normed(Operation):
    """A body and the batch norm after it."""

    PREACTIVATED = True

    def __init__(self, channels: int, affine: bool, *body: nn.Module, lanes: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.norm = batch_norm(channels, affine, lanes)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.norm(self.body(x), scale)  # type: ignore[no-any-return]


class SepConv(Normed):
    """Depthwise-separable convolution, twice: depthwise k x k, 1x1, BN, ReLU, depthwise, 1x1, BN."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool, lanes: int = 1) -> None:
        super().__init__(
            channels,
            affine,
            DepthwiseConv2d(lanes * channels, kernel, stride, lanes=lanes),
            convolution(channels, channels, 1, lanes),
            batch_norm(channels, affine, lanes),
            nn.ReLU(inplace=True),  # the gradient of a batch norm needs only its input
            DepthwiseConv2d(lanes * channels, kernel),
            convolution(channels, channels, 1, lanes),
            lanes=lanes,
        )


class DilConv(Normed):
    """Dilated (2) depthwise-separable convolution: depthwise k x k, 1x1, BN.

    At stride 2 the kernel's pixels and the outputs lie on every second pixel. There the convolution is neither dilated
    nor strided.
    """

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool, lanes: int = 1) -> None:
        self.halves = stride == 2
        wide = lanes * channels
        super().__init__(
            channels,
            affine,
            DepthwiseConv2d(wide, kernel) if self.halves else DepthwiseConv2d(wide, kernel, stride, dilation=2),
            convolution(channels, channels, 1, lanes),
            lanes=lanes,
        )

    def forward(self, x: Tensor, scale: Tensor | None = None, halved: Halved | None = None) -> Tensor:
        if self.halves:
            x = (halved or Halved(x)).even
        return super().forward(x, scale)


class Conv(Normed):
    """k x k convolution of stride 1, BN: `nor_conv` of NAS-Bench-201."""

    def __init__(self, channels: int, kernel: int, affine: bool, lanes: int = 1) -> None:
        super().__init__(
            channels, affine, convolution(channels, channels, kernel, lanes, padding=kernel // 2), lanes=lanes
        )


class Pool(Operation):
    """3x3 pooling. In a supernet a BN without affine parameters follows (`normalised`), as in the authors' code."""

    SHARED = True

    def __init__(self, kind: str, channels: int, stride: int, normalised: bool, lanes: int = 1) -> None:
        super().__init__()
        self.pool: nn.Module = (
            nn.MaxPool2d(3, stride, 1) if kind == "max" else AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        self.norm: nn.Module = batch_norm(channels, False, lanes) if normalised else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pool(x))  # type: ignore[no-any-return]


class Identity(Operation):
    """The skip connection at stride 1."""

    SHARED = True

    def forward(self, x: Tensor) -> Tensor:
        return x


class Noise(Operation, Drawing):
    """Draws N(0, 1) for every output value and ignores its input (RobustDARTS' space S4), in evaluation mode too.

    `drawn` is the noise of the next pass if it was drawn before (see `ahead.Ahead`).
    """

    def __init__(self, stride: int, lanes: int = 1) -> None:
        super().__init__()
        self.stride, self.lanes = stride, lanes
        self.drawn: Tensor | None = None

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        noise = self._noise(x[:, :, :: self.stride, :: self.stride]) if self.drawn is None else self.drawn
        if scale is None:
            return noise
        return weighted(scale, noise)

    def _noise(self, like: Tensor) -> Tensor:
        if self.lanes == 1:
            return torch.empty_like(like).normal_(generator=self.generator)
        return draw_each(like, self.lanes, lambda lane, empty: empty.normal_(generator=self.generators[lane]))


class FactorizedReduce(Operation):
    """Halves the resolution with two 1x1 convolutions of stride 2, one shifted by a pixel, then BN.

    It is the skip connection at stride 2. For odd sizes the shifted half is padded by one row and column, so that both
    halves have the same size. The authors' code fails there.
    """

    PREACTIVATED = True
    halves = True

    def __init__(self, channels_in: int, channels_out: int, affine: bool, lanes: int = 1) -> None:
        super().__init__()
        self.lanes = lanes
        self.first = convolution(channels_in, channels_out // 2, 1, lanes)
        self.second = convolution(channels_in, channels_out - channels_out // 2, 1, lanes)
        self.norm = batch_norm(channels_out, affine, lanes)

    def forward(self, x: Tensor, scale: Tensor | None = None, halved: Halved | None = None) -> Tensor:
        # A 1x1 convolution of stride 2 equals one of stride 1 on every second pixel. It is written so because
        # oneDNN's backward pass of the former corrupts the heap on CPUs where the input has few
        # channels (torch 2.14.1: "corrupted double-linked list").
        halved = halved or Halved(x)
        both = concatenate([self.first(halved.even), self.second(halved.shifted)], self.lanes)
        return self.norm(both, scale)  # type: ignore[no-any-return]


class ReLUConvBN(nn.Module):
    """ReLU, 1x1 convolution, BN: brings a cell's inputs to its number of channels."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool, lanes: int = 1) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            convolution(channels_in, channels_out, 1, lanes),
            batch_norm(channels_out, affine, lanes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # type: ignore[no-any-return]


class ReLUReduce(nn.Module):
    """ReLU, then `FactorizedReduce`: how a cell after a reduction takes its older input."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool, lanes: int = 1) -> None:
        super().__init__()
        self.reduce = FactorizedReduce(channels_in, channels_out, affine, lanes)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(torch.relu(x))  # type: ignore[no-any-return]


class Conv7x1(Normed):
    """1x7 then 7x1 convolution, BN. Published genotypes of other papers have it. The search space does not."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__(
            channels,
            affine,
            nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
            nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
        )


class Zero(Operation):
    """`none` as a chosen primitive: zeros."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


@dataclass(frozen=True)
class Shape:
    """What the builder of a primitive is told. `channels` are those of one lane."""

    channels: int
    stride: int
    affine: bool
    normalised: bool
    lanes: int = 1


def _sep(kernel: int) -> Callable[[Shape], Operation]:
    return lambda shape: SepConv(shape.channels, kernel, shape.stride, shape.affine, shape.lanes)


def _dil(kernel: int) -> Callable[[Shape], Operation]:
    return lambda shape: DilConv(shape.channels, kernel, shape.stride, shape.affine, shape.lanes)


def _pool(kind: str) -> Callable[[Shape], Operation]:
    return lambda shape: Pool(kind, shape.channels, shape.stride, shape.normalised, shape.lanes)


def _conv(kernel: int) -> Callable[[Shape], Operation]:
    return lambda shape: Conv(shape.channels, kernel, shape.affine, shape.lanes)


def _skip(shape: Shape) -> Operation:
    if shape.stride == 1:
        return Identity()
    return FactorizedReduce(shape.channels, shape.channels, shape.affine, shape.lanes)


# A supernet leaves `none` out: it adds nothing to a sum, and its arch weight has gradient 0 through it.
_BUILDERS: dict[str, Callable[[Shape], Operation]] = {
    "none": lambda shape: Zero(shape.stride),
    "max_pool_3x3": _pool("max"),
    "avg_pool_3x3": _pool("avg"),
    "skip_connect": _skip,
    "sep_conv_3x3": _sep(3),
    "sep_conv_5x5": _sep(5),
    "sep_conv_7x7": _sep(7),
    "dil_conv_3x3": _dil(3),
    "dil_conv_5x5": _dil(5),
    "conv_7x1_1x7": lambda shape: Conv7x1(shape.channels, shape.stride, shape.affine),
    "noise": lambda shape: Noise(shape.stride, shape.lanes),
    "nor_conv_1x1": _conv(1),
    "nor_conv_3x3": _conv(3),
}
NOT_IN_LANES = frozenset({"conv_7x1_1x7"})  # no space searches it


class Weighted(Operation):
    """A module of the user's own that takes only its input. The arch weight is multiplied here."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        y: Tensor = self.module(x)
        return y if scale is None else scale * y


def build_operation(
    primitive: str, channels: int, stride: int, *, affine: bool, normalised: bool, lanes: int = 1
) -> Operation:
    """Builds the module of a primitive. With `affine` the batch norms have parameters. In a supernet they have none.

    `channels` are those of one lane. Raises `InputError` if the primitive is unknown, or is none that has lanes.

    A primitive of the user's own, `module:Class`, is built by `Class(channels, stride, affine)`. It is an `Operation`,
    or any module that takes only its input and does not change it.
    """
    if lanes > 1 and (outside.is_outside(primitive) or primitive in NOT_IN_LANES):
        raise InputError(f"primitive {primitive} has no lanes: searches of its space cannot be fused")
    if outside.is_outside(primitive):
        made: object = outside.load(primitive)(channels, stride, affine)
        if not isinstance(made, nn.Module):
            raise InputError(f"primitive {primitive} is not a torch.nn.Module")
        return made if isinstance(made, Operation) else Weighted(made)
    if primitive not in _BUILDERS:
        raise InputError(f"unknown primitive '{primitive}' (allowed: {', '.join(_BUILDERS)}, or module:Class)")
    return _BUILDERS[primitive](Shape(channels, stride, affine, normalised, lanes))


STRIDED = tuple(name for name in _BUILDERS if not name.startswith("nor_conv"))


def is_buildable(primitive: str) -> bool:
    """Returns whether `build_operation` may know it. For the user's own code, only loading tells."""
    return primitive in _BUILDERS or outside.is_outside(primitive)


@cache
def has_weights(primitive: str) -> bool:
    """Returns whether a primitive has weights at stride 1.

    A primitive that is not convolutional counts as having weights.
    """
    if not is_buildable(primitive):
        return True
    try:
        with torch.device("meta"):  # nothing is initialised, so nothing is drawn
            operation = build_operation(primitive, 2, 1, affine=False, normalised=False)
    except TypeError:  # an activation of the user's own, which takes no channels
        return True
    return any(True for _ in operation.parameters())


def is_strided(primitive: str) -> bool:
    """Returns whether it can halve the resolution. One of the user's own counts as able to."""
    return is_buildable(primitive) and not primitive.startswith("nor_conv")
