"""Second derivatives of supernets on a CPU, without passes that nobody needs.

An eigenvalue of alpha's Hessian and products with L_train's take second derivatives. torch's of a batch norm took half
of the time of such a product. torch's of a convolution include the one by its weights, also where these are constant
(torch 2.14.1; docs/benchmarks.md). Inside `twice_differentiable` both have a backward pass of their own. Values and
first derivatives are torch's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raydarts.spaces.context import Context

_inside = 0  # Each convolution and each batch norm asks. A context variable took a hundredth of a small step.


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Makes second derivatives of forward passes inside the context fast. There are no third ones then.

    It holds for all threads. Elsewhere it changes how a pass is computed, and no value.
    """
    global _inside  # noqa: PLW0603
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1


def twice(x: Tensor) -> bool:
    """Returns whether a forward pass of x will be differentiated twice, by the functions here."""
    return _inside > 0 and x.device.type == "cpu"


def linear_convolution(x: Tensor, weight: Tensor, *how: Any) -> Tensor:
    """Returns the convolution with constant weights. Its second derivative is one convolution.

    `how`: stride, padding, dilation and groups.
    """
    return _Linear.apply(x, weight, *how)  # type: ignore[no-any-return]


class _Linear(torch.autograd.Function):
    """A convolution with constant weights, and its transpose as first derivative."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, *how: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.conv2d(x, weight, None, *how)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        dx = _Transposed.apply(*gradients, *ctx.saved_tensors, *ctx.how)
        return dx, *(None,) * 5


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, dy: Tensor, x: Tensor, weight: Tensor, *how: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how = how
        stride, padding, dilation, groups = how
        asked = [True, False, False]
        each = torch.ops.aten.convolution_backward(
            dy, x, weight, None, stride, padding, dilation, False, [0, 0], groups, asked
        )
        return each[0]  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return _Linear.apply(*gradients, weight, *ctx.how), *(None,) * 6


class BatchNorm(torch.autograd.Function):
    """y = weight * xhat + bias, with xhat = r (x - mean) and r = (var + eps)^-1/2 of each channel of the batch."""

    @staticmethod
    def forward(
        ctx: Context,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, mean, r = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, r)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, r = ctx.saved_tensors
        (dy,) = gradients
        wanted = ctx.needs_input_grad[:3]
        each = _Gradient.apply(x, weight, dy, mean, r, ctx.eps)
        return (
            *(gradient if want else None for gradient, want in zip(each, wanted, strict=True)),
            None,
            None,
            None,
            None,
        )


class _Gradient(torch.autograd.Function):
    """dx = weight r P(dy), dweight = sum(dy xhat), dbias = sum(dy), with P(v) = v - mean(v) - xhat mean(v xhat)."""

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, weight: Tensor | None, dy: Tensor, mean: Tensor, r: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dweight, dbias = _backward(dy, x, weight, mean, r, eps)
        ctx.save_for_backward(x, weight, dy, mean, r, dweight, dbias)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return dx, dweight, dbias

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The derivatives of <g, dx> + <g_weight, dweight> + <g_bias, dbias> by x, weight and dy.

        With M values a channel, a = mean(dy xhat), b = mean(g xhat), S = sum(g P(dy)), c = -weight r a and
        d = g_weight - weight r b:

            by dy:     weight r P(g) + g_weight xhat + g_bias
            by weight: r S
            by x:      r P(c g + d dy) - xhat r^2 weight S / M

        The last is a sum of g, dy and x with a factor for each channel. Vectors below have one entry a channel.
        """
        x, weight, dy, mean, r, sum_dy_xhat, sum_dy = ctx.saved_tensors
        g, g_weight, g_bias = gradients
        g = torch.zeros_like(x) if g is None else g
        factor = torch.ones_like(mean) if weight is None else weight
        shift = torch.zeros_like(mean) if g_weight is None else g_weight
        by_dy, sum_g_xhat, sum_g = _backward(g, x, weight, mean, r, ctx.eps)
        count = x.numel() // len(mean)
        mean_g, mean_dy, a, b = sum_g / count, sum_dy / count, sum_dy_xhat / count, sum_g_xhat / count
        s = (g * dy).sum((0, 2, 3)) - count * (mean_g * mean_dy + a * b)
        c, d = -factor * r * a, shift - factor * r * b
        of_x = -(r**2) * (c * b + d * a) - r**3 * factor * s / count
        by_x = x * _each(of_x)  # first, so that the result has the layout of x
        by_x.addcmul_(dy, _each(r * d)).addcmul_(g, _each(r * c))
        by_x.sub_(_each(r * (c * mean_g + d * mean_dy) + of_x * mean))
        if g_weight is not None:
            by_dy.addcmul_(x, _each(shift * r)).sub_(_each(shift * r * mean))
        if g_bias is not None:
            by_dy.add_(_each(g_bias))
        return by_x, None if weight is None else r * s, by_dy, None, None, None


def _backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, r: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns dx, sum(dy xhat) and sum(dy)."""
    asked = [True, True, True]
    return torch.ops.aten.native_batch_norm_backward(dy, x, weight, None, None, mean, r, True, eps, asked)  # type: ignore[no-any-return]


def _each(values: Tensor) -> Tensor:
    """Returns one number a channel as a tensor that spreads over `(batch, C, H, W)`."""
    return values.view(-1, 1, 1)
