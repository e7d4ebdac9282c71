"""Lanes: K networks of one shape in one module, so that one pass runs all of them.

A lane has its own weights, statistics, inputs and arch weights. No value of a lane reaches another one. The layout is
lane-major: an activation is `(batch, K * C, H, W)`, and the channels of lane k are `k * C` to `(k + 1) * C`. So a
convolution of all lanes is one convolution with K groups. Each parameter and buffer keeps the name that it has in the
network of one lane, and the value of lane k is chunk k of K along dimension 0. A module with one lane has no lane
dimension anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raydarts.spaces.context import Context


def views(state: Mapping[str, Tensor], lanes: int, lane: int) -> dict[str, Tensor]:
    """Returns the state of lane number `lane`, as a module of one lane has it, as views of the state of all lanes."""
    return dict(state) if lanes == 1 else {name: _part(value, lanes, lane) for name, value in state.items()}


def _part(value: Tensor, lanes: int, lane: int) -> Tensor:
    if value.dtype == torch.long:  # batch norm counts its batches in a tensor without dimensions
        return value[lane]
    return value.chunk(lanes)[lane]


def of_lanes(x: Tensor, lanes: int, dim: int = 1) -> Tensor:
    """Returns a view `(batch, lanes, C, ...)` of `(batch, lanes * C, ...)`. `dim` is where the lanes are."""
    return x.unflatten(dim, (lanes, -1))  # type: ignore[no-untyped-call,no-any-return]


def weighted(weight: Tensor, x: Tensor) -> Tensor:
    """Returns `weight * x`. `weight` is a scalar tensor, or has one entry for each lane or each channel of `x`."""
    if _is_scalar(weight, x):
        return weight * x
    return _Weighted.apply(_of_channels(weight, x), x)  # type: ignore[no-any-return]


def plus_weighted(total: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Returns `total + weight * x`."""
    if _is_scalar(weight, x):
        return torch.addcmul(total, x, weight)
    return _PlusWeighted.apply(total, _of_channels(weight, x), x)  # type: ignore[no-any-return]


def add_weighted(total: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Adds `weight * x` to `total` in place. No backward pass needs the sum."""
    if _is_scalar(weight, x):
        return total.addcmul_(x, weight)
    return _AddWeighted.apply(total, _of_channels(weight, x), x)  # type: ignore[no-any-return]


def _is_scalar(weight: Tensor, x: Tensor) -> bool:
    """Returns whether torch's product is right. It would round a scalar of another type (`search.amp`)."""
    return weight.dim() == 0 and weight.dtype == x.dtype


def _of_channels(weight: Tensor, x: Tensor) -> Tensor:
    """Returns the weight of each channel.

    A product with a view `(batch, lanes, C, ...)` takes up to ten times as long: the C values of a lane lie between
    those of other lanes, and torch multiplies each C values by themselves.
    """
    weight = weight.view(-1)
    each = x.shape[1] // len(weight)
    return weight if each == 1 else weight.repeat_interleave(each)


def _spread(weight: Tensor, x: Tensor) -> Tensor:
    return weight.view(-1, *(1,) * (x.dim() - 2))


def _times(x: Tensor, weight: Tensor) -> Tensor:
    """Returns the product in the type of `x`. Under `search.amp` that is another one, and the weight is not rounded."""
    return (x * _spread(weight, x)).to(x.dtype)


class _Weighted(torch.autograd.Function):
    """`weight * x` with a weight for each channel. Its derivatives keep the layout of `x`, the second ones too."""

    @staticmethod
    def forward(ctx: Context, weight: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x)
        return _times(x, weight)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weight, x = ctx.saved_tensors
        (dy,) = gradients
        by_weight, by_x = ctx.needs_input_grad[-2:]
        return _Dots.apply(dy, x, weight.dtype) if by_weight else None, _Weighted.apply(weight, dy) if by_x else None


class _AddWeighted(torch.autograd.Function):
    """`total += weight * x`."""

    @staticmethod
    def forward(ctx: Context, total: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.mark_dirty(total)
        if weight.dtype != x.dtype:
            return total.add_(_times(x, weight))
        return total.addcmul_(x, _spread(weight, x))

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *gradients, *_Weighted.backward(ctx, *gradients)


class _PlusWeighted(torch.autograd.Function):
    """`total + weight * x`."""

    @staticmethod
    def forward(ctx: Context, total: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x)
        if weight.dtype != x.dtype:
            return total + _times(x, weight)
        return torch.addcmul(total, x, _spread(weight, x))

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *gradients, *_Weighted.backward(ctx, *gradients)


class _Dots(torch.autograd.Function):
    """The sum of `x * y` over each channel."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, y)
        return sums(x.to(dtype) * y)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, y = ctx.saved_tensors
        (weight,) = gradients
        by_x, by_y = ctx.needs_input_grad[:2]
        return _Weighted.apply(weight, y) if by_x else None, _Weighted.apply(weight, x) if by_y else None, None


def sums(x: Tensor) -> Tensor:
    """Returns the sum of each channel of `(batch, channels, ...)`. Its bits do not depend on the channel's place.

    On a CPU torch sums channels in blocks of a power of two. It adds the values of those that fill no block in another
    order. So it is given a power of two at a time: all of them fill blocks, or none does.
    """
    dims = (0, *range(2, x.dim()))
    channels = x.shape[1]
    power_of_two = channels & -channels
    return torch.cat([part.sum(dims) for part in torch.split(x, power_of_two, 1)])


def count_lanes(norm: _BatchNorm, lanes: int) -> None:
    """Makes a batch norm count the batches of each lane. Lanes may have seen different numbers of them."""
    if lanes > 1:
        norm.num_batches_tracked = torch.zeros(lanes, dtype=torch.long)


class PixelMean(nn.Module):
    """Each channel's mean over the pixels: `(batch, K * C, H, W)` to `(K, batch, C)`."""

    def __init__(self, lanes: int) -> None:
        super().__init__()
        self.lanes = lanes

    def forward(self, x: Tensor) -> Tensor:
        return _PixelMean.apply(x, self.lanes)  # type: ignore[no-any-return]


class _PixelMean(torch.autograd.Function):
    """The gradient is channels-last, as other activations' are. torch's would be channels-first."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, lanes: int) -> Tensor:
        ctx.lanes, ctx.shape = lanes, x.shape
        # The copy puts the lanes apart. Then a sum's bits do not depend on the place of a lane.
        return of_lanes(x, lanes).transpose(0, 1).contiguous().mean((3, 4))

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None]:
        return _PixelMeanTransposed.apply(gradients[0], ctx.shape), None


class _PixelMeanTransposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, dy: Tensor, shape: torch.Size) -> Tensor:
        ctx.lanes = len(dy)
        each = dy.transpose(0, 1).flatten(1) / (shape[2] * shape[3])
        return each[..., None, None].expand(shape).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None]:
        return _PixelMean.apply(gradients[0], ctx.lanes), None


def pool(lanes: int) -> nn.Module:
    """Returns the mean over the pixels as `(batch, C)`, or of each lane."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if lanes == 1 else PixelMean(lanes)


class LaneLinear(nn.Module):
    """A linear layer for each lane: `(K, batch, inputs)` to `(K, batch, outputs)`."""

    def __init__(self, inputs: int, outputs: int, lanes: int) -> None:
        super().__init__()
        self.lanes = lanes
        one = nn.Linear(inputs, outputs)  # torch's initial values
        self.weight = nn.Parameter(one.weight.detach().repeat(lanes, 1))
        self.bias = nn.Parameter(one.bias.detach().repeat(lanes))

    def forward(self, x: Tensor) -> Tensor:
        weight = of_lanes(self.weight, self.lanes, 0)
        return torch.baddbmm(self.bias.view(self.lanes, 1, -1), x, weight.transpose(1, 2))


def linear(inputs: int, outputs: int, lanes: int) -> nn.Module:
    """Returns torch's linear layer, or one for each lane."""
    return nn.Linear(inputs, outputs) if lanes == 1 else LaneLinear(inputs, outputs, lanes)
