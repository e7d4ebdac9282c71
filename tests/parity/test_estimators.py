"""The paper's mathematical claims about dL/dalpha, in float64."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.registry import Choose
from raydarts.tasks import Loss


class Bilevel:
    """Two losses of (w, alpha), each a function given by the test; batches are ignored."""

    def __init__(self, train: Any, valid: Any, w: Tensor, alpha: Tensor) -> None:
        self._train, self._valid = train, valid
        self.w, self.alpha = w.requires_grad_(), alpha.requires_grad_()
        self.weights, self.alphas = [self.w], [self.alpha]
        self.frozen: frozenset[int] = frozenset()

    def _loss(self, value: Tensor) -> Loss:
        return Loss(value, value.detach(), torch.tensor(0), 1)

    def weight_loss(self, batch: Any) -> Loss:
        return self._loss(self._train(self.w, self.alpha))

    def alpha_loss(self, batch: Any) -> Loss:
        return self._loss(self._valid(self.w, self.alpha))

    def virtual(self) -> Any:
        return nullcontext()


def sgd(w: Tensor, lr: float = 0.1, momentum: float = 0.0, weight_decay: float = 0.0) -> torch.optim.SGD:
    return torch.optim.SGD([w], lr, momentum, weight_decay=weight_decay)


def estimate(name: str, problem: Bilevel, optimizer: torch.optim.Optimizer, **settings: Any) -> Tensor:
    estimator = Choose("estimator").parse({"name": name, **settings}).build()
    return estimator(problem, None, None, optimizer).gradients[0]


@pytest.fixture
def quadratic() -> tuple[Bilevel, dict[str, Tensor]]:
    """L_train = w'Aw/2 + w'B alpha, L_val = w'Cw/2 + d'w + alpha'E alpha/2."""
    g = torch.Generator().manual_seed(3)
    rand = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    sym = lambda m: m + m.T  # noqa: E731
    m = {"A": sym(rand(5, 5)), "B": rand(5, 3), "C": sym(rand(5, 5)), "d": rand(5), "E": sym(rand(3, 3))}
    problem = Bilevel(
        lambda w, a: w @ m["A"] @ w / 2 + w @ m["B"] @ a,
        lambda w, a: w @ m["C"] @ w / 2 + m["d"] @ w + a @ m["E"] @ a / 2,
        rand(5),
        rand(3),
    )
    return problem, m


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_exact_hvp_matches_the_closed_form_on_a_quadratic(quadratic: Any, momentum: float) -> None:
    problem, m = quadratic
    xi, wd = 0.07, 0.3
    optimizer = sgd(problem.w, momentum=momentum, weight_decay=wd)
    buffer = torch.linspace(-1, 1, 5, dtype=torch.float64)
    optimizer.state[problem.w]["momentum_buffer"] = buffer.clone()
    w, a = problem.w.detach(), problem.alpha.detach()
    ahead = w - xi * (momentum * buffer + m["A"] @ w + m["B"] @ a + wd * w)
    closed = m["E"] @ a - xi * m["B"].T @ (m["C"] @ ahead + m["d"])
    found = estimate("exact_hvp", problem, optimizer, xi=xi)
    torch.testing.assert_close(found, closed, rtol=0, atol=1e-9)
    # The training loss is quadratic, so the finite difference has no error but rounding.
    torch.testing.assert_close(estimate("finite_difference", problem, optimizer, xi=xi), closed, rtol=0, atol=1e-8)


def smooth() -> Bilevel:
    """Not quadratic: L_train has a non-zero third derivative along v."""
    g = torch.Generator().manual_seed(5)
    rand = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
    x, y, u, v = rand(20, 6), rand(20), rand(20, 6), rand(20)

    def loss(inputs: Tensor, targets: Tensor, w: Tensor, a: Tensor) -> Tensor:
        mixed = a.softmax(0)
        z = inputs @ w
        return ((mixed[0] * torch.tanh(z) + mixed[1] * torch.sin(z) + mixed[2] * z - targets) ** 2).mean()

    return Bilevel(lambda w, a: loss(x, y, w, a), lambda w, a: loss(u, v, w, a), rand(6), rand(3))


def test_finite_difference_tends_to_exact_hvp_with_slope_two() -> None:
    problem = smooth()
    optimizer = sgd(problem.w)
    exact = estimate("exact_hvp", problem, optimizer, xi=0.5)
    epsilons = [0.4, 0.2, 0.1, 0.05, 0.025]
    errors = [
        float((estimate("finite_difference", problem, optimizer, xi=0.5, epsilon=e) - exact).norm()) for e in epsilons
    ]
    slopes = [(torch.tensor(errors[i] / errors[i + 1]).log2()).item() for i in range(len(errors) - 1)]
    assert all(1.9 < slope < 2.1 for slope in slopes), slopes
    assert errors[0] > 1e-6  # the claim is not about rounding


@pytest.mark.parametrize("name", ["finite_difference", "exact_hvp"])
def test_xi_zero_is_first_order_to_the_last_bit(name: str) -> None:
    problem = smooth()
    optimizer = sgd(problem.w, momentum=0.9, weight_decay=0.1)
    assert torch.equal(estimate(name, problem, optimizer, xi=0), estimate("first_order", problem, optimizer))


@pytest.mark.parametrize("name", ["finite_difference", "exact_hvp"])
def test_xi_lr_is_the_optimizers_current_lr(name: str) -> None:
    problem = smooth()
    optimizer = sgd(problem.w, lr=0.3)
    assert torch.equal(estimate(name, problem, optimizer, xi="lr"), estimate(name, problem, optimizer, xi=0.3))
    optimizer.param_groups[0]["lr"] = 0.02
    assert torch.equal(estimate(name, problem, optimizer, xi="lr"), estimate(name, problem, optimizer, xi=0.02))


@pytest.mark.parametrize("name", ["first_order", "finite_difference", "exact_hvp"])
def test_weights_are_unchanged_bit_for_bit(name: str) -> None:
    problem = smooth()
    before = problem.w.detach().clone()
    estimate(name, problem, sgd(problem.w))
    assert torch.equal(problem.w.detach(), before)
