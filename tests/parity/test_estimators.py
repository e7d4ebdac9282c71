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

    replaying = mixing = virtual


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


def hessian(problem: Bilevel) -> Tensor:
    """The dense d2L_train/dw2 at w."""
    return torch.autograd.functional.hessian(lambda w: problem._train(w, problem.alpha.detach()), problem.w.detach())


def mixed(problem: Bilevel) -> Tensor:
    """The dense d2L_train/(dalpha dw): a row for each alpha."""
    w, alpha = problem.w.detach(), problem.alpha.detach()

    def gradient(a: Tensor) -> Tensor:
        leaf = w.clone().requires_grad_()
        return torch.autograd.grad(problem._train(leaf, a), leaf, create_graph=True)[0]

    return torch.autograd.functional.jacobian(gradient, alpha).T


def validation_gradients(problem: Bilevel) -> tuple[Tensor, Tensor]:
    """(dL_val/dalpha, dL_val/dw) at w."""
    by_alpha, by_w = torch.autograd.grad(problem._valid(problem.w, problem.alpha), [problem.alpha, problem.w])
    return by_alpha, by_w


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("terms", [0, 1, 6])
def test_neumann_is_the_series_of_the_dense_hessian(terms: int, decay: float) -> None:
    problem, eta = smooth(), 0.04
    direct, v = validation_gradients(problem)
    step = torch.eye(6, dtype=torch.float64) * (1 - eta * decay) - eta * hessian(problem)
    series = sum(torch.linalg.matrix_power(step, j) for j in range(terms + 1))
    closed = direct - eta * mixed(problem) @ series @ v
    found = estimate("neumann", problem, sgd(problem.w, momentum=0.9, weight_decay=decay), terms=terms, eta=eta)
    torch.testing.assert_close(found, closed, rtol=0, atol=1e-12)


def test_neumann_tends_to_the_dense_solve_with_the_hessian() -> None:
    problem, decay = smooth(), 1.0  # L_train with this decay is convex at w
    curvature = hessian(problem) + decay * torch.eye(6, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(curvature)
    assert eigenvalues.min() > 0
    direct, v = validation_gradients(problem)
    solved = direct - mixed(problem) @ torch.linalg.solve(curvature, v)
    optimizer = sgd(problem.w, weight_decay=decay)
    eta = 1.0 / float(eigenvalues.max())
    errors = [
        float((estimate("neumann", problem, optimizer, terms=terms, eta=eta) - solved).norm())
        for terms in (5, 20, 2000)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-10


def test_neumann_without_terms_is_exact_hvp_where_the_validation_gradient_is_the_same_at_w_and_ahead() -> None:
    """L_val is linear in w here, so that dL_val/dw and dL_val/dalpha do not change on the virtual step."""
    curved = smooth()
    d = torch.linspace(-1, 1, 6, dtype=torch.float64)
    problem = Bilevel(curved._train, lambda w, a: d @ w + a.square().sum(), curved.w.detach(), curved.alpha.detach())
    optimizer = sgd(problem.w, momentum=0.9, weight_decay=0.1)
    one_step = estimate("exact_hvp", problem, optimizer, xi=0.3)
    torch.testing.assert_close(estimate("neumann", problem, optimizer, terms=0, eta=0.3), one_step, rtol=0, atol=1e-14)
    # Where L_val is curved, the two differ: neumann takes its gradient at w.
    assert not torch.allclose(
        estimate("neumann", curved, sgd(curved.w), terms=0, eta=0.3),
        estimate("exact_hvp", curved, sgd(curved.w), xi=0.3),
    )


def test_neumann_eta_lr_is_the_optimizers_current_lr() -> None:
    problem = smooth()
    assert torch.equal(
        estimate("neumann", problem, sgd(problem.w, lr=0.3)), estimate("neumann", problem, sgd(problem.w), eta=0.3)
    )


def test_published_defects_without_any_defect_is_finite_difference_to_the_last_bit() -> None:
    problem = smooth()
    optimizer = sgd(problem.w, momentum=0.9, weight_decay=0.1)
    for settings in ({}, {"xi": 0.3, "epsilon": 0.1, "grad_clip": 0.5}, {"xi": 0}):
        plain = estimate("finite_difference", problem, optimizer, **settings)
        assert torch.equal(estimate("published_defects", problem, optimizer, **settings), plain)


def test_multiplying_by_epsilon_makes_the_second_term_smaller_by_epsilon_squared() -> None:
    problem, xi, epsilon = smooth(), 0.5, 0.3
    optimizer = sgd(problem.w)
    right = estimate("finite_difference", problem, optimizer, xi=xi, epsilon=epsilon)
    wrong = estimate("published_defects", problem, optimizer, xi=xi, epsilon=epsilon, epsilon_multiplied=True)
    w = problem.w.detach().clone()
    with torch.no_grad():
        gradient = torch.autograd.functional.jacobian(lambda x: problem._train(x, problem.alpha.detach()), w)
        problem.w.copy_(w - xi * gradient)
    direct, v = validation_gradients(problem)
    eps = epsilon / v.norm()
    torch.testing.assert_close(direct - wrong, eps**2 * (direct - right), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", ["first_order", "finite_difference", "exact_hvp", "neumann", "published_defects"])
def test_weights_are_unchanged_bit_for_bit(name: str) -> None:
    problem = smooth()
    before = problem.w.detach().clone()
    estimate(name, problem, sgd(problem.w))
    assert torch.equal(problem.w.detach(), before)
