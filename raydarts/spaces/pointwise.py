"""1x1 convolutions as products of matrices.

A channels-last image `(batch, C, H, W)` is a matrix of `batch * H * W` rows, so a 1x1 convolution is one product for
each lane, and so are its gradients. In exact arithmetic both are the same. docs/benchmarks.md has the times: cuDNN's
deterministic gradients by the weights took half of the time of a step of the paper's size, and on a CPU oneDNN's
convolution of a small image takes three times as long as the product.

A search alone on a CPU keeps torch's convolution, and so its bits. There the product saves no time: what Python adds to
a step is as much as what the product saves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raydarts.spaces.context import Context

# Images of a group that are larger than this, in bytes, do not fit into a core's cache. Lanes that are multiplied one
# after the other would read each line of memory several times.
_LARGEST = 2**20


def pointwise(x: Tensor, weight: Tensor, lanes: int = 1) -> Tensor:
    """Returns the 1x1 convolution of `x` `(batch, K * C, H, W)` with `weight` `(K * D, C, 1, 1)`, channels-last.

    It is `conv2d(x, weight, groups=K)`: each of the K lanes by itself.
    """
    return _Product.apply(x, weight.view(lanes, -1, weight.shape[1]))  # type: ignore[no-any-return]


def pays(x: Tensor, lanes: int) -> bool:
    """Returns whether a product is faster than the convolution of this channels-last image, where that is allowed.

    oneDNN has no convolution in float64, and torch's own is slower at all sizes.
    """
    if x.device.type != "cpu":
        return x.device.type == "cuda"
    if lanes == 1 or torch.is_autocast_enabled("cpu"):
        return False
    return x.dtype == torch.float64 or x.numel() * x.itemsize <= _LARGEST


def _pixels(x: Tensor, lanes: int) -> Tensor:
    """Returns the pixels of each lane, `(K, batch * H * W, channels)`, a view if the image is channels-last."""
    x = x.contiguous(memory_format=torch.channels_last)
    channels = x.shape[1] // lanes
    return x.as_strided((lanes, x.shape[0] * x.shape[2] * x.shape[3], channels), (channels, x.shape[1], 1))


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`(batch, K * C, H, W)` and weights `(K, D, C)` to `(batch, K * D, H, W)`, channels-last."""
    lanes, channels_out, _ = weight.shape
    y = x.new_empty(x.shape[0], *x.shape[2:], lanes * channels_out).permute(0, 3, 1, 2)
    pixels, result = _pixels(x, lanes), _pixels(y, lanes)
    if lanes == 1:
        torch.mm(pixels[0], weight[0].t(), out=result[0])
    else:  # written where it belongs: a lane's channels lie beside those of the others
        torch.bmm(pixels, weight.transpose(1, 2), out=result)
    return y


class _Product(torch.autograd.Function):
    """`(batch, K * C, H, W)` and weights `(K, D, C)` to `(batch, K * D, H, W)`."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

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
        if x.device.type == "cpu":
            return torch.bmm(_pixels(dy, lanes).transpose(1, 2), _pixels(x, lanes))
        # One product of all channels with all others. A lane's block holds nothing of the other lanes. A product for
        # each lane has too few values to keep a GPU busy: its sums go over all pixels.
        products = torch.mm(_pixels(dy, 1)[0].t(), _pixels(x, 1)[0])
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
