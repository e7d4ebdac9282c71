"""Second derivatives of batch norms and of convolutions equal torch's."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from raydarts.spaces.convolution import Convolution
from raydarts.spaces.primitives import batch_norm
from raydarts.spaces.second_derivatives import twice_differentiable


def double(values: Tensor) -> Tensor:
    return values.double().requires_grad_()


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("scaled", [None, "one", "each"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_first_and_second_derivatives_equal_torchs(affine: bool, scaled: str | None, channels_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return double(torch.randn(shape, generator=generator))

    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = (3 + 2 * draw(4, 6, 3, 5)).detach().contiguous(memory_format=layout).requires_grad_()
    scale = {None: None, "one": draw(1)[0], "each": draw(6)}[scaled]
    mixing, further = draw(4, 6, 3, 5), draw(4, 6, 3, 5)
    known: list[Any] = []
    for fast in (False, True):
        norm = batch_norm(6, affine).double()
        if affine:
            with torch.no_grad():
                norm.weight.copy_(torch.linspace(-1, 2, 6))
                norm.bias.copy_(torch.linspace(0, 1, 6))
        leaves = [x, *([] if scale is None else [scale]), *norm.parameters()]
        if fast:
            with twice_differentiable():
                y = norm(x, scale)
        else:
            y = norm(x, scale)
        first = torch.autograd.grad((torch.sin(y) * mixing).sum(), leaves, create_graph=True)
        target = (first[0] * further).sum() + sum((part**2).sum() for part in first[1:])
        second = torch.autograd.grad(target, leaves, allow_unused=True, materialize_grads=True)
        assert not fast or second[0].stride() == x.stride()
        known.append([y, norm.running_mean, norm.running_var, *first, *second])
    count = 3 + len(leaves)
    assert all(torch.equal(one, other) for one, other in zip(known[0][:count], known[1][:count], strict=True))
    for one, other in zip(known[0][count:], known[1][count:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_a_derivative_by_the_weights_gradient_alone_equals_torchs() -> None:
    x = double(torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    known = []
    for fast in (False, True):
        norm = batch_norm(3).double()
        if fast:
            with twice_differentiable():
                y = norm(x)
        else:
            y = norm(x)
        gradients = torch.autograd.grad(torch.sin(y).sum(), [norm.weight, norm.bias], create_graph=True)
        known.append(torch.autograd.grad(sum((each**2).sum() for each in gradients), x)[0])
    torch.testing.assert_close(*known, rtol=1e-11, atol=1e-11)


def test_evaluation_mode_is_torchs() -> None:
    x = double(torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    norm = batch_norm(3, affine=False).double().eval()
    with twice_differentiable():
        y = norm(x)
    assert torch.equal(y, torch.nn.functional.batch_norm(x, norm.running_mean, norm.running_var, eps=norm.eps))


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 2), (3, 2, 4), (5, 2, 4)])
def test_a_convolution_with_constant_weights_takes_fewer_convolutions(kernel: int, stride: int, groups: int) -> None:
    """torch takes the derivative by the weights, too."""
    generator = torch.Generator().manual_seed(0)
    layer = Convolution(4, 4, kernel, stride, kernel // 2, groups=groups, bias=False).double().requires_grad_(False)
    x = double(torch.randn(2, 4, 6, 5, generator=generator)).detach().contiguous(memory_format=torch.channels_last)
    known, counts = [], []
    for fast in (False, True):
        leaf = x.clone().requires_grad_()
        with Convolutions() as mode:
            with twice_differentiable() if fast else nullcontext():
                y = layer(leaf)
            (first,) = torch.autograd.grad(torch.sin(y).sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad((first**3).sum(), leaf)
        known.append((y, first, second))
        counts.append(mode.count)
    assert all(torch.equal(one, other) for one, other in zip(known[0][:2], known[1][:2], strict=True))
    torch.testing.assert_close(known[0][2], known[1][2], rtol=1e-11, atol=1e-11)
    assert known[1][2].stride() == x.stride()
    assert counts[1] < counts[0]


class Convolutions(TorchDispatchMode):
    """Counts convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name() in ("aten::convolution", "aten::convolution_backward")
        return func(*args, **(kwargs or {}))
