"""Products of lanes with their weights, and their sums: values, derivatives, layouts, and bits in any place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from raydarts.spaces.lanes import PixelMean, add_weighted, of_lanes, plus_weighted, sums, weighted

LANES, CHANNELS = 3, 4


def draw(*shape: int) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)
    return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values


def spread(weight: Tensor) -> Tensor:
    return weight.repeat_interleave(LANES * CHANNELS // len(weight)).view(-1, 1, 1)


WAYS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "weighted": (lambda total, weight, x: weighted(weight, x), lambda total, weight, x: spread(weight) * x),
    "plus_weighted": (plus_weighted, lambda total, weight, x: total + spread(weight) * x),
    "add_weighted": (
        lambda total, weight, x: add_weighted(total * 1, weight, x),
        lambda total, weight, x: total + spread(weight) * x,
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weights", [LANES, LANES * CHANNELS])
def test_products_and_both_derivatives_are_torchs_in_the_layout_of_x(way: str, weights: int) -> None:
    known = []
    for function in WAYS[way]:
        total, x = (draw(2, LANES * CHANNELS, 3, 5).requires_grad_() for _ in range(2))
        weight = draw(weights).requires_grad_()
        y = function(total, weight, x)
        by_x, by_weight = torch.autograd.grad(torch.sin(y).sum(), (x, weight), create_graph=True)
        second = torch.autograd.grad((by_x**2).sum() + (by_weight**2).sum(), (x, weight))
        known.append((y, by_x, by_weight, *second))
    for one, other in zip(*known, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert {value.stride() for value in known[0] if value.dim() == 4} == {draw(2, LANES * CHANNELS, 3, 5).stride()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("lanes", "channels"), [(2, 3), (3, 2), (5, 16), (6, 8), (3, 32), (8, 8), (5, 36)])
def test_equal_channels_have_equal_sums_in_any_place(lanes: int, channels: int, dtype: torch.dtype) -> None:
    one = draw(32, channels, 8, 8).to(dtype)
    x = torch.cat([one] * lanes, 1).contiguous(memory_format=torch.channels_last)
    each = sums(x).view(lanes, channels)
    assert all(torch.equal(lane, each[0]) for lane in each)
    torch.testing.assert_close(each[0].double(), one.double().sum((0, 2, 3)), rtol=1e-4, atol=1e-3)


def test_a_mean_over_pixels_has_a_channels_last_gradient_and_torchs_derivatives() -> None:
    known = []
    for function in (PixelMean(LANES), lambda x: of_lanes(x, LANES).transpose(0, 1).mean((3, 4))):
        x = draw(2, LANES * CHANNELS, 3, 5).requires_grad_()
        (first,) = torch.autograd.grad(torch.sin(function(x)).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        known.append((function(x), first, second))
    for one, other in zip(*known, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert known[0][1].stride() == draw(2, LANES * CHANNELS, 3, 5).stride()
