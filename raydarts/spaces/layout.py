"""Slices and concatenations whose gradients keep the memory layout of their inputs.

torch gives a concatenation's inputs narrow views of the gradient, and a slice's input a gradient in channels-first
layout. Batch norm and ReLU on a CPU take five to forty times longer over such gradients than over dense ones in
channels-last layout (torch 2.14.1; docs/benchmarks.md). The values are torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raydarts.spaces.context import Context
from raydarts.spaces.lanes import of_lanes


def layout(x: Tensor) -> torch.memory_format:
    """Returns the layout of a `(batch, C, H, W)` tensor: channels-first if it is neither or both."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def concatenate(tensors: Sequence[Tensor], lanes: int = 1) -> Tensor:
    """Concatenates along the channels: `(batch, C_i, H, W)` -> `(batch, sum of C_i, H, W)`.

    With lanes it concatenates the channels of each lane. The result is channels-last then.
    """
    if lanes > 1:
        return _LaneConcatenation.apply(lanes, *tensors)  # type: ignore[no-any-return]
    return _Concatenation.apply(*tensors)  # type: ignore[no-any-return]


class _Concatenation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, *tensors: Tensor) -> Tensor:
        y = torch.cat(tensors, dim=1)
        ctx.sizes, ctx.layout = [x.shape[1] for x in tensors], layout(y)
        return y

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, ...]:
        (dy,) = gradients
        return tuple(part.contiguous(memory_format=ctx.layout) for part in torch.split(dy, ctx.sizes, dim=1))


class _LaneConcatenation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, lanes: int, *tensors: Tensor) -> Tensor:
        parts = [of_lanes(x.permute(0, 2, 3, 1), lanes, 3) for x in tensors]
        ctx.lanes, ctx.sizes = lanes, [part.shape[4] for part in parts]
        return torch.cat(parts, dim=4).flatten(3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows = of_lanes(gradients[0].permute(0, 2, 3, 1), ctx.lanes, 3)
        return None, *(part.flatten(3).permute(0, 3, 1, 2) for part in torch.split(rows, ctx.sizes, dim=4))


def first_channels(x: Tensor, channels: int, lanes: int = 1) -> Tensor:
    """Returns the first `channels` of `(batch, C, H, W)`, of each lane."""
    if lanes * channels == x.shape[1]:
        return x
    return _FirstOfLanes.apply(x, channels, lanes)  # type: ignore[no-any-return]


class _FirstOfLanes(torch.autograd.Function):
    """`(batch, lanes * C, H, W)` -> `(batch, lanes * channels, H, W)`, dense."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, channels: int, lanes: int) -> Tensor:
        ctx.channels, ctx.lanes = x.shape[1] // lanes, lanes
        y = _empty(x, lanes * channels)
        of_lanes(y, lanes).copy_(of_lanes(x, lanes)[:, :, :channels])
        return y

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _FirstOfLanesPlaced.apply(gradients[0], ctx.channels, ctx.lanes), None, None


class _FirstOfLanesPlaced(torch.autograd.Function):
    """The transpose of `_FirstOfLanes`: each lane's values in its first channels and zeros in the others."""

    @staticmethod
    def forward(ctx: Context, y: Tensor, channels: int, lanes: int) -> Tensor:
        ctx.channels, ctx.lanes = y.shape[1] // lanes, lanes
        x = _empty(y, lanes * channels).zero_()
        of_lanes(x, lanes)[:, :, : ctx.channels].copy_(of_lanes(y, lanes))
        return x

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _FirstOfLanes.apply(gradients[0], ctx.channels, ctx.lanes), None, None


def _empty(x: Tensor, channels: int) -> Tensor:
    """Returns a tensor like `x`, in its layout, with so many channels."""
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout(x))


class AvgPool2d(nn.AvgPool2d):
    """Average pooling whose gradient is right on a GPU, too.

    torch's gradient on a GPU is wrong if the image is channels-last and padded: seen with torch 2.11 on an H200
    (pytorch/pytorch#188344). So a GPU pools it channels-first.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=layout(x))


class _Quarters(torch.autograd.Function):
    """Pixels 0, 2, ... of rows 0, 2, ..., and pixels 1, 3, ... of rows 1, 3, ..., both dense."""

    @staticmethod
    def forward(ctx: Context, x: Tensor) -> tuple[Tensor, ...]:
        ctx.shape, ctx.layout = x.shape, layout(x)
        return tuple(x[:, :, start::2, start::2].contiguous(memory_format=ctx.layout) for start in (0, 1))

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> Tensor:
        return _QuartersPlaced.apply(*gradients, ctx.shape, ctx.layout)  # type: ignore[no-any-return]


class _QuartersPlaced(torch.autograd.Function):
    """The transpose of `_Quarters`: the values in their places and zeros between them."""

    @staticmethod
    def forward(ctx: Context, even: Tensor, shifted: Tensor, shape: torch.Size, form: torch.memory_format) -> Tensor:
        x = torch.empty(shape, dtype=even.dtype, device=even.device, memory_format=form).zero_()
        x[:, :, ::2, ::2], x[:, :, 1::2, 1::2] = even, shifted
        return x

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *_Quarters.apply(*gradients), None, None


class Halved:
    """Two of the four quarters of an image's pixels, made once. Operations of stride 2 share them.

    It does not use `functools.cached_property`, at which torch.compile breaks the graph in Python 3.11.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._quarters: tuple[Tensor, Tensor] | None = None

    def _made(self) -> tuple[Tensor, Tensor]:
        if self._quarters is None:
            even, shifted = _Quarters.apply(self.x)
            odd_height, odd_width = self.x.shape[2] % 2, self.x.shape[3] % 2
            if odd_height or odd_width:
                shifted = nn.functional.pad(shifted, (0, odd_width, 0, odd_height))
            self._quarters = even, shifted
        return self._quarters

    @property
    def even(self) -> Tensor:
        """Pixels 0, 2, ... of rows 0, 2, ...: `(n, C, ceil(H / 2), ceil(W / 2))`."""
        return self._made()[0]

    @property
    def shifted(self) -> Tensor:
        """Pixels 1, 3, ... of rows 1, 3, .... Odd sizes are padded with zeros to the shape of `even`."""
        return self._made()[1]
