"""1x1 convolutions of lanes whose gradients are fast on a CPU. In exact arithmetic they equal torch's.

A 1x1 convolution of K lanes has K groups. oneDNN computes the gradient of its input up to three times slower than a
convolution with the transposed weights, which is the same sum. It computes the gradient of the weights of lanes of many
channels slower than a batched product of matrices (torch 2.14.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raydarts.spaces.context import Context
from raydarts.spaces.lanes import of_lanes

_MANY = 16  # from this many channels of a lane on, the batched product is the faster one


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d(lanes * channels_in, lanes * channels_out, 1, groups=lanes, bias=False)`."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            return _Convolution.apply(x, self.weight, self.groups)  # type: ignore[no-any-return]
        return super().forward(x)


class _Convolution(torch.autograd.Function):
    """`(n, lanes * I, H, W)`, `(lanes * O, I, 1, 1)` -> `(n, lanes * O, H, W)`; differentiable any number of times."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, lanes: int) -> Tensor:
        to_x, to_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if to_weight else None, weight if to_x else None)
        ctx.lanes = lanes
        return torch.conv2d(x, weight, groups=lanes)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        (dy,) = gradients
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _Convolution.apply(dy, _transposed(weight, ctx.lanes), ctx.lanes)
        if ctx.needs_input_grad[1]:
            dw = _WeightGradient.apply(x, dy, ctx.lanes)
        return dx, dw, None


class _WeightGradient(torch.autograd.Function):
    """dw[k, o, i] = sum over images and pixels of dy[:, k, o, h, w] x[:, k, i, h, w], for each lane k."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, dy: Tensor, lanes: int) -> Tensor:
        ctx.save_for_backward(x, dy)
        ctx.lanes = lanes
        outputs, inputs = dy.shape[1] // lanes, x.shape[1] // lanes
        if max(outputs, inputs) < _MANY:
            weight = x.new_empty((lanes * outputs, inputs, 1, 1))
            gradients = torch.ops.aten.convolution_backward(
                dy, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], lanes, [False, True, False]
            )
            return gradients[1]  # type: ignore[no-any-return]
        return torch.bmm(_rows(dy, lanes).transpose(1, 2), _rows(x, lanes)).view(-1, inputs, 1, 1)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, dy = ctx.saved_tensors
        (dw,) = gradients
        to_x = to_dy = None
        if ctx.needs_input_grad[0]:
            to_x = _Convolution.apply(dy, _transposed(dw, ctx.lanes), ctx.lanes)
        if ctx.needs_input_grad[1]:
            to_dy = _Convolution.apply(x, dw, ctx.lanes)
        return to_x, to_dy, None


def _rows(x: Tensor, lanes: int) -> Tensor:
    """Returns `(lanes, n * H * W, C)`: a view of images that are channels-last in memory."""
    return of_lanes(x.permute(0, 2, 3, 1).flatten(0, 2), lanes).transpose(0, 1)


def _transposed(weight: Tensor, lanes: int) -> Tensor:
    """Returns the weights of the convolution from the outputs to the inputs of each lane."""
    return of_lanes(weight.flatten(1), lanes, 0).transpose(1, 2).flatten(0, 1)[..., None, None]
