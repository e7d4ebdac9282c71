"""Slices and concatenations: torch's own values and gradients, in the layout of what they came from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.spaces import depthwise
from raydarts.spaces.layout import Halved, concatenate, first_channels
from raydarts.spaces.primitives import build_operation

LAYOUTS = (torch.channels_last, torch.contiguous_format)


def image(height: int, width: int, layout: torch.memory_format = torch.channels_last) -> Tensor:
    values = torch.randn(2, 4, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return values.contiguous(memory_format=layout).requires_grad_()


def padded(x: Tensor) -> Tensor:
    """Every second pixel from the second on, in plain torch."""
    return torch.nn.functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1::2, 1::2]


FORMS: dict[str, tuple[Any, Any]] = {
    "even": (lambda x: Halved(x).even, lambda x: x[:, :, ::2, ::2]),
    "shifted": (lambda x: Halved(x).shifted, padded),
    "first": (lambda x: first_channels(x, 3), lambda x: x[:, :3]),
    "concatenate": (lambda x: concatenate([x, 2 * x]), lambda x: torch.cat([x, 2 * x], 1)),
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels_last", "contiguous"])
@pytest.mark.parametrize(("height", "width"), [(6, 4), (5, 4), (6, 3)])
@pytest.mark.parametrize("form", FORMS)
def test_values_and_gradients_match_torch(form: str, height: int, width: int, layout: torch.memory_format) -> None:
    ours, plain = FORMS[form]
    x = image(height, width, layout)
    y, expected = ours(x), plain(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    dy = torch.randn_like(y.detach())
    (found,), (wanted,) = torch.autograd.grad(y, x, dy), torch.autograd.grad(expected, x, dy)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert torch.autograd.gradgradcheck(lambda x: ours(x) ** 2, (x,))


@pytest.mark.parametrize("form", ["even", "shifted", "first"])
def test_a_parts_gradient_stays_in_channels_last_layout(form: str) -> None:
    x = image(6, 4)
    y = FORMS[form][0](x)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert dx.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels_last", "contiguous"])
def test_gradients_of_what_was_concatenated_are_dense_in_its_layout(layout: torch.memory_format) -> None:
    """Whatever the layout of the concatenation's own gradient: an average pool's, say, is in none."""
    one, other = image(6, 4, layout), image(6, 4, layout)
    y = concatenate([one, other])
    for dy in (torch.ones_like(y), torch.ones_like(y).contiguous(), torch.ones((), dtype=y.dtype).expand_as(y)):
        for gradient in torch.autograd.grad(y, (one, other), dy, retain_graph=True):
            assert gradient.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_dilated_convolution_of_stride_2_matches_torch(kernel: int, size: tuple[int, int]) -> None:
    operation: Any = build_operation(f"dil_conv_{kernel}x{kernel}", 4, 2, affine=False, normalised=True).double()
    depthwise, pointwise = operation.body
    x = image(*size)
    expected = torch.conv2d(x, depthwise.weight, None, 2, kernel - 1, 2, 4)
    expected = operation.norm(torch.conv2d(expected, pointwise.weight))
    torch.testing.assert_close(operation(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(operation(x, halved=Halved(x)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "fast"), [((8, 8), True), ((7, 6), True), ((8, 7), False), ((2, 2), True)])
def test_strided_5x5_convolutions_of_lanes_match_torch(
    size: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, first and second derivatives. Searches alone, and images of odd width, keep torch's kernels."""
    calls: list[int] = []
    correlation = depthwise._strided_correlation
    monkeypatch.setattr(depthwise, "_strided_correlation", lambda *both: (calls.append(1), correlation(*both))[1])
    for lanes in (1, 2):
        torch.manual_seed(0)
        module = depthwise.DepthwiseConv2d(4, 5, 2, lanes=lanes).double()
        x = image(*size)
        w = module.weight
        ours, theirs = module(x), torch.conv2d(x, w, None, 2, 2, 1, 4)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        along = torch.randn_like(theirs)
        pairs = []
        for y in (ours, theirs):
            first = torch.autograd.grad((y * along).sum(), (x, w), retain_graph=True)
            graph = torch.autograd.grad((y.square() * along).sum(), (x, w), create_graph=True)
            second = torch.autograd.grad(sum(part.cos().sum() for part in graph), (x, w))
            pairs.append([*first, *second])
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
        assert bool(calls) == (fast and lanes > 1)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (3, 3), (4, 4)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_kernels_that_reach_beyond_a_small_image_give_the_same_bits(
    kernel: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their outer values meet zeros alone, and are left out where oneDNN is slow with them."""
    torch.manual_seed(0)
    module = depthwise.DepthwiseConv2d(16, kernel, dilation=2).to(memory_format=torch.channels_last)
    x = torch.randn(8, 16, *size).to(memory_format=torch.channels_last).requires_grad_()
    padding, weight = 2 * (kernel // 2), module.weight
    theirs = torch.nn.functional.conv2d(x, weight, None, 1, padding, 2, 16)
    widths, usual = [], torch.conv2d

    def conv2d(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        widths.append(weight.shape[-1])
        return usual(x, weight, *rest)

    monkeypatch.setattr(torch, "conv2d", conv2d)
    ours = module(x)
    assert torch.equal(ours, theirs)
    dy = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, [x, weight], dy), torch.autograd.grad(theirs, [x, weight], dy), strict=True
    ):
        torch.testing.assert_close(mine, other)
    assert widths[0] == (kernel if padding <= max(size) else 1 + 2 * ((max(size) - 1) // 2))
