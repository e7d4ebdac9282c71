"""1x1 convolutions as products of matrices: how a GPU computes them.

A channels-last image `(batch, C, H, W)` is a matrix of `batch * H * W` rows, so a 1x1 convolution is one product, and
so are its gradients. cuDNN's deterministic gradients by the weights of 1x1 convolutions took half of the time of a step
of the paper's size (an H200, torch 2.11; docs/benchmarks.md). In exact arithmetic both are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raydarts.spaces.context import Context


def pointwise(x: Tensor, weight: Tensor, lanes: int = 1) -> Tensor:
    """Returns the 1x1 convolution of `x` `(batch, K * C, H, W)` with `weight` `(K * D, C, 1, 1)`, channels-last.

    It is `conv2d(x, weight, groups=K)`: each of the K lanes by itself.
    """
    return _Product.apply(x, weight.view(lanes, -1, weight.shape[1]))  # type: ignore[no-any-return]


def _rows(x: Tensor) -> Tensor:
    """Returns the pixels as `(batch * H * W, channels)`, a view if the image is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


class _Product(torch.autograd.Function):
    """`(batch, K * C, H, W)` and weights `(K, D, C)` to `(batch, K * D, H, W)`."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        lanes, channels_out, channels = weight.shape
        rows = _rows(x)
        y = rows.new_empty(len(rows), lanes * channels_out)
        if lanes == 1:
            torch.mm(rows, weight[0].t(), out=y)
        else:  # written where it belongs: a lane's channels lie beside those of the others
            by_lane = y.view(-1, lanes, channels_out).transpose(0, 1)
            torch.bmm(rows.view(-1, lanes, channels).transpose(0, 1), weight.transpose(1, 2), out=by_lane)
        return y.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (dy,) = gradients
        by_x, by_weight = ctx.needs_input_grad
        return (
            _Product.apply(dy, weight.transpose(1, 2)) if by_x else None,
            _WeightGradient.apply(dy, x, len(weight)) if by_weight else None,
        )


class _WeightGradient(torch.autograd.Function):
    """`dy` `(batch, K * D, H, W)` and `x` `(batch, K * C, H, W)` to the gradient by the weights, `(K, D, C)`."""

    @staticmethod
    def forward(ctx: Context, dy: Tensor, x: Tensor, lanes: int) -> Tensor:
        ctx.save_for_backward(dy, x)
        # One product of all channels with all others. A lane's block holds nothing of the other lanes. A product for
        # each lane has too few values to keep a GPU busy: its sums go over all pixels.
        products = torch.mm(_rows(dy).t(), _rows(x))
        blocks = products.view(lanes, dy.shape[1] // lanes, lanes, x.shape[1] // lanes)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        dy, x = ctx.saved_tensors
        (weight,) = gradients
        by_dy, by_x = ctx.needs_input_grad[:2]
        return (
            _Product.apply(x, weight) if by_dy else None,
            _Product.apply(dy, weight.transpose(1, 2)) if by_x else None,
            None,
        )
