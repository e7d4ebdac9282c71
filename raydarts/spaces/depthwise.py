"""Depthwise convolutions whose gradients are fast. In exact arithmetic they equal torch's.

A depthwise convolution y = w * x with an odd kernel and "same" padding is bilinear. Its gradients are of the same kind:
dL/dx is the convolution of dL/dy with the flipped kernel, dL/dw is a correlation of x with dL/dy. oneDNN's backward
pass computes both up to forty times slower than the forward pass if the kernel is dilated, and dL/dw slowly if it is
more than three pixels wide (torch 2.14.1; docs/benchmarks.md). So this module computes dL/dx as a forward convolution.
It computes a dilated dL/dw on images of every `dilation`-th row and pixel, where the kernel is not dilated, and a wide
dL/dw three columns at a time. With lanes, it computes a wide dL/dw at stride 2 on every second column. On images that
are smaller than the padding it leaves out the values of a kernel that meet zeros alone. oneDNN takes ten to seventy
times as long with them, and the bits are the same without (5x5, dilation 2, images of 2x2 and 3x3; an Intel Xeon).

On a GPU cuDNN computes the dilated dL/dw of channels-last images five to eight times slower than torch's own kernels
that of channels-first images, more than the copies take (an H200, torch 2.11; docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raydarts.spaces.context import Context
from raydarts.spaces.convolution import Convolution, as_convolutions_compute
from raydarts.spaces.layout import layout

_WIDTH = 3  # the widest kernel for which oneDNN's weight gradient is fast


class DepthwiseConv2d(Convolution):
    """`nn.Conv2d(channels, channels, kernel, stride, groups=channels, bias=False)` with "same" padding, kernel odd.

    `channels` are those of all lanes.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1, lanes: int = 1) -> None:
        self.lanes = lanes
        super().__init__(
            channels,
            channels,
            kernel,
            stride,
            dilation * (kernel // 2),
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            dilated = self.dilation[0] > 1 and layout(x) == torch.channels_last
            return self._channels_first(x) if dilated else super().forward(x)
        if self.stride[0] == 1 and (self.kernel_size[0] > _WIDTH or self.dilation[0] > 1):
            return _Convolution.apply(*as_convolutions_compute(x, self.weight), self.dilation[0])  # type: ignore[no-any-return]
        # One lane keeps torch's kernel, so that searches alone keep their bits.
        strided = self.lanes > 1 and self.stride[0] == 2 and self.kernel_size[0] == 5
        if strided and self.weight.requires_grad:
            return _Strided.apply(*as_convolutions_compute(x, self.weight))  # type: ignore[no-any-return]
        return super().forward(x)

    def _channels_first(self, x: Tensor) -> Tensor:
        """Returns the convolution as torch's own kernels compute it. cuDNN's take channels-last images."""
        # The view has no stride that says channels-last, which torch would take for the layout of the image too.
        weight = self.weight.flatten().view(self.weight.shape)
        y: Tensor = self._conv_forward(x.contiguous(), weight, None)
        return y.contiguous(memory_format=torch.channels_last)


class _Convolution(torch.autograd.Function):
    """`(n, C, H, W)`, `(C, 1, k, k)` -> `(n, C, H, W)`; differentiable any number of times."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        to_x, to_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if to_weight else None, weight if to_x else None)
        ctx.dilation, ctx.kernel = dilation, weight.shape[-1]
        weight = _within(weight, max(x.shape[2:]), dilation)
        padding = dilation * (weight.shape[-1] // 2)
        return torch.conv2d(x, weight, None, 1, padding, dilation, weight.shape[0])

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        (dy,) = gradients
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _Convolution.apply(dy, weight.flip(2, 3), ctx.dilation)
        if ctx.needs_input_grad[1]:
            dw = _WeightGradient.apply(x, dy, ctx.kernel, ctx.dilation)
        return dx, dw, None


def _within(weight: Tensor, size: int, dilation: int) -> Tensor:
    """Returns a kernel without those outer values that lie beyond an image of this size wherever the kernel stands."""
    reach = weight.shape[-1] // 2
    if weight.dtype != torch.float32 or dilation * reach <= size:
        return weight
    beyond = reach - (size - 1) // dilation
    return weight[:, :, beyond:-beyond, beyond:-beyond].contiguous()


class _WeightGradient(torch.autograd.Function):
    """dw[c, 0, i, j] = sum over images and pixels of x[:, c, h + d (i - k/2), w + d (j - k/2)] dy[:, c, h, w]."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, dy: Tensor, kernel: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, dy)
        ctx.dilation = dilation
        return _correlation(x, dy, kernel, dilation)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, dy = ctx.saved_tensors
        (dw,) = gradients
        to_x = to_dy = None
        if ctx.needs_input_grad[0]:
            to_x = _Convolution.apply(dy, dw.flip(2, 3), ctx.dilation)
        if ctx.needs_input_grad[1]:
            to_dy = _Convolution.apply(x, dw, ctx.dilation)
        return to_x, to_dy, None, None


def _correlation(x: Tensor, dy: Tensor, kernel: int, dilation: int) -> Tensor:
    """Returns the gradient of the kernel, computed at most three columns at a time."""
    channels = x.shape[1]
    width = min(kernel, _WIDTH)
    gap = kernel // 2 - width // 2
    spread_x, spread_dy = _Spread(x, gap, kernel, dilation), _Spread(dy, gap, kernel, dilation)
    parts = []
    for first in range(0, kernel, width):
        begin = min(first, kernel - width)
        shift = gap - begin  # how far the part's middle lies to the left of the kernel's
        gradient = _native(spread_x.moved(max(shift, 0)), spread_dy.moved(max(-shift, 0)), (kernel, width))
        parts.append(gradient[..., first - begin :])
    whole = torch.cat(parts, dim=3) if len(parts) > 1 else parts[0]
    return whole if dilation == 1 else whole.view(dilation, channels, 1, kernel, kernel).sum(0)


class _Spread:
    """`(n, C, H, W)` images with `gap` columns of zeros to the right of each row, copied once.

    Moving all images to the right within their gaps is another view of the same memory. A dilation of d splits each row
    into W / d pixels with d C channels, and each image into d images of every d-th row. On these no kernel is dilated.
    Images lower than the kernel get rows of zeros below, because oneDNN is slow on them.
    """

    def __init__(self, x: Tensor, gap: int, kernel: int, dilation: int) -> None:
        self.x = x
        self.copied = gap > 0 or dilation > 1 or x.shape[2] < kernel
        if self.copied:
            self._copy(gap, kernel, dilation)

    def _copy(self, gap: int, kernel: int, dilation: int) -> None:
        x = self.x
        pads = [0, -x.shape[3] % dilation, 0, -x.shape[2] % dilation]
        x = nn.functional.pad(x, pads) if any(pads) else x
        count, channels, height, width = x.shape
        height, width, self.channels = height // dilation, width // dilation, channels * dilation
        rows = x.permute(0, 2, 3, 1).reshape(count, height, dilation, width, self.channels).transpose(1, 2)
        self.shape = (count * dilation, max(height, kernel), width + gap, self.channels)
        self.margin = gap * self.channels
        self.size = self.margin + count * dilation * self.shape[1] * self.shape[2] * self.channels
        self.buffer = x.new_empty(self.size)
        self.buffer[: self.margin].zero_()
        room = self.buffer[self.margin :].view(count, dilation, *self.shape[1:])
        room[:, :, :height, :width] = rows
        room[:, :, :height, width:].zero_()
        room[:, :, height:].zero_()

    def moved(self, columns: int) -> Tensor:
        if not self.copied:
            return self.x
        shift = columns * self.channels
        images = self.buffer[self.margin - shift : self.size - shift]
        return images.view(self.shape).permute(0, 3, 1, 2)


def _native(x: Tensor, dy: Tensor, kernel: tuple[int, int]) -> Tensor:
    channels = x.shape[1]
    weight = x.new_empty((channels, 1, *kernel))
    pads = [size // 2 for size in kernel]
    gradients = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], pads, [1, 1], False, [0, 0], channels, [False, True, False]
    )
    return gradients[1]  # type: ignore[no-any-return]


class _Strided(torch.autograd.Function):
    """A depthwise 5x5 convolution of stride 2: `(n, C, H, W)`, `(C, 1, 5, 5)` -> `(n, C, ceil(H / 2), ceil(W / 2))`.

    Only its first derivative by the weight is computed in another way than torch does it.
    """

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.conv2d(x, weight, None, 2, 2, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (dy,) = gradients
        to_x, to_weight = ctx.needs_input_grad[:2]
        fast = to_weight and not torch.is_grad_enabled() and x.shape[3] % 2 == 0
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dy,
            x,
            weight,
            None,
            [2, 2],
            [2, 2],
            [1, 1],
            False,
            [0, 0],
            x.shape[1],
            [to_x, to_weight and not fast, False],
        )
        return dx, _strided_correlation(x, dy) if fast else dw


def _strided_correlation(x: Tensor, dy: Tensor) -> Tensor:
    """Returns the gradient of a 5x5 kernel at stride 2. oneDNN takes four times as long over it (torch 2.14.1).

    The kernel's columns 0, 2, 4 meet the even columns of x, and 1, 3 the odd ones. In channels-last layout both are
    channels of an image of half the width, without a copy. Over its columns the kernel has no stride, and is narrow.
    """
    count, channels, height, width = x.shape
    columns = x.permute(0, 2, 3, 1).reshape(count, height, width // 2, 2 * channels).permute(0, 3, 1, 2)
    twice = torch.cat([dy.permute(0, 2, 3, 1)] * 2, 3).permute(0, 3, 1, 2)
    weight = x.new_empty((2 * channels, 1, 5, 3))
    parts = torch.ops.aten.convolution_backward(
        twice, columns, weight, None, [2, 1], [2, 1], [1, 1], False, [0, 0], 2 * channels, [False, True, False]
    )[1]
    even, odd = parts.view(2, channels, 1, 5, 3).unbind()
    return torch.stack([even[..., 0], odd[..., 0], even[..., 1], odd[..., 1], even[..., 2]], -1)
