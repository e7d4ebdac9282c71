"""DrNAS' distances to the flat Dirichlet, against torch.distributions and by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from raydarts.registry import Choose


def penalty(alphas: dict[str, Tensor], **settings: Any) -> Any:
    return Choose("regularizer").parse({"name": "dirichlet_distance", **settings}).build().penalty(alphas, {})


def random_alphas() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for name, shape in {"normal": (5, 8), "reduce": (3, 8)}.items()
    }


def gradients(loss: Tensor, alphas: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(alphas.values()))])


def test_divergence_and_gradient_match_torch_distributions() -> None:
    alphas = random_alphas()
    found = penalty(alphas, distance="kl", strength=0.5)
    expected = 0.5 * sum(
        kl_divergence(Dirichlet(torch.nn.functional.elu(a) + 1), Dirichlet(torch.ones_like(a))).sum()
        for a in alphas.values()
    )
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradients(found, alphas), gradients(expected, alphas), rtol=1e-8, atol=1e-12)


def test_divergence_matches_hand_computation() -> None:
    # Dirichlet(2, 1) on two candidates has density 2x: KL = integral of 2x log(2x) = log 2 - 1/2
    alphas = {"cell": torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)}
    assert float(penalty(alphas, distance="kl", strength=1)) == pytest.approx(math.log(2) - 0.5)


def test_l2_is_weight_decay_in_alphas_gradient() -> None:
    alphas = random_alphas()
    found = penalty(alphas)
    values = torch.cat([a.detach().flatten() for a in alphas.values()])
    assert float(found.detach()) == pytest.approx(1e-3 / 2 * float(values.square().sum()))
    torch.testing.assert_close(gradients(found, alphas), 1e-3 * values, rtol=1e-12, atol=0)


def test_strength_zero_adds_nothing() -> None:
    assert penalty(random_alphas(), strength=0) is None
