"""DrNAS' relaxation: draws of a Dirichlet, with its pathwise gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raydarts.registry import Choose
from raydarts.search.relaxations.dirichlet import concentration

pytestmark = pytest.mark.usefixtures("one_thread")


def relaxed(alpha: Tensor, seed: int = 0) -> Tensor:
    relaxation = Choose("relaxation").parse("dirichlet").build()
    relaxation.generator = torch.Generator().manual_seed(seed)
    found: Tensor = relaxation(alpha)
    return found


def random_alpha(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()


def test_draw_and_gradient_match_torch_distributions() -> None:
    alpha = random_alpha(14, 8)
    direction = torch.randn(14, 8, dtype=torch.float64)
    found = relaxed(alpha, seed=7)
    (gradient,) = torch.autograd.grad((found * direction).sum(), alpha)
    torch.manual_seed(7)
    expected = torch.distributions.Dirichlet(torch.nn.functional.elu(alpha) + 1).rsample()
    (by_torch,) = torch.autograd.grad((expected * direction).sum(), alpha)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, by_torch, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.sum(-1), torch.ones(14, dtype=torch.float64))


def test_the_gradient_is_that_of_the_expectation() -> None:
    """E[x_i^2] = c_i (c_i + 1) / (c (c + 1)), c the sum: its derivative is the mean of the pathwise ones."""
    alpha = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    count = 200000
    sampled = (relaxed(alpha.expand(count, 3)).square() * weight).sum() / count
    (found,) = torch.autograd.grad(sampled, alpha)
    c = torch.stack([alpha[0] + 1, alpha[1].exp(), alpha[2] + 1])
    exact = (weight * c * (c + 1)).sum() / (c.sum() * (c.sum() + 1))
    (expected,) = torch.autograd.grad(exact, alpha)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert bool((expected.abs() > 0.02).all())


def test_expected_is_the_mean_and_ranks_an_edge_as_alpha_does() -> None:
    alpha = random_alpha(6, 5).detach()
    expected = Choose("relaxation").parse("dirichlet").build().expected(alpha)
    c = torch.nn.functional.elu(alpha) + 1
    torch.testing.assert_close(expected, c / c.sum(-1, keepdim=True))
    torch.testing.assert_close(expected[0], relaxed(alpha[:1].expand(50000, 5)).mean(0), rtol=0, atol=5e-3)
    assert torch.equal(expected.argsort(-1), alpha.argsort(-1))


def test_the_concentration_stays_above_zero_where_elu_plus_one_rounds_to_it() -> None:
    alpha = torch.tensor([-30.0, -1.0, 0.0, 2.0], requires_grad=True)
    c = concentration(alpha)
    assert float(torch.nn.functional.elu(alpha.detach())[0] + 1) == 0.0
    assert c.tolist() == pytest.approx([9.357623e-14, 0.36787945, 1.0, 3.0])
    (gradient,) = torch.autograd.grad(c.sum(), alpha)
    assert gradient.tolist() == pytest.approx([9.357623e-14, 0.36787945, 1.0, 1.0])


def test_the_stream_alone_decides_the_draw() -> None:
    alpha = random_alpha(3, 4)
    torch.manual_seed(1)
    one = relaxed(alpha, seed=4)
    torch.manual_seed(2)
    assert torch.equal(one, relaxed(alpha, seed=4))
    assert not torch.equal(one, relaxed(alpha, seed=5))
