"""1x1 convolutions as products of matrices: values, gradients, second gradients, and lanes that do not meet."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raydarts.spaces.depthwise import DepthwiseConv2d
from raydarts.spaces.pointwise import pointwise


def image(channels: int) -> Tensor:
    x = torch.randn(2, channels, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("lanes", [1, 3])
def test_it_is_the_convolution(lanes: int) -> None:
    x = image(4 * lanes)
    weight = torch.randn(6 * lanes, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    ours, torchs = pointwise(x, weight, lanes), torch.conv2d(x, weight, groups=lanes)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, torchs)
    dy = torch.randn_like(torchs)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (x, weight), dy), torch.autograd.grad(torchs, (x, weight), dy), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    assert torch.autograd.gradgradcheck(lambda *of: pointwise(*of, lanes), (x, weight))


def test_a_lane_that_is_not_finite_reaches_no_other() -> None:
    x = image(12).detach()
    x[:, 4:8] = torch.nan
    x.requires_grad_()
    weight = torch.randn(18, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    y = pointwise(x, weight, 3)
    dx, dw = torch.autograd.grad(y.square().sum(), (x, weight))
    for whole, dim in ((y, 1), (dx, 1), (dw, 0)):
        assert [bool(part.isfinite().all()) for part in whole.chunk(3, dim)] == [True, False, True]


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_dilated_depthwise_convolution_is_the_same_channels_first(kernel: int) -> None:
    """How a GPU computes it."""
    module = DepthwiseConv2d(4, kernel, dilation=2).double().to(memory_format=torch.channels_last)
    x = image(4)
    plain, first = module(x), module._channels_first(x)
    assert first.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(first, plain)
    dy = torch.randn_like(plain)
    leaves = (x, module.weight)
    for mine, theirs in zip(
        torch.autograd.grad(first, leaves, dy), torch.autograd.grad(plain, leaves, dy), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
