"""Weights that do not move in the virtual step carry nothing of the second order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.search.moments import Step
from raydarts.search.regularizers.oles import Oles
from raydarts.search.search import Search
from tests.parity.test_estimators import Bilevel, estimate, sgd
from tests.unit.search.regularizers.tiny_search import tiny_search

pytestmark = pytest.mark.usefixtures("one_thread")
SECOND_ORDER = ["finite_difference", "exact_hvp"]


class TwoWeights(Bilevel):
    """L_train = sum over both weights of w'Aw/2 + w'B alpha, L_val = w'Cw/2 + d'w, with the second weight frozen."""

    def __init__(self, frozen: frozenset[int]) -> None:
        g = torch.Generator().manual_seed(7)
        rand = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
        self.first, self.second = rand(4).requires_grad_(), rand(3).requires_grad_()
        self.A, self.B, self.C, self.d = rand(7, 7), rand(7, 2), rand(7, 7), rand(7)
        self.A, self.C = self.A + self.A.T, self.C + self.C.T
        self.alpha = rand(2).requires_grad_()
        self.weights, self.alphas, self.frozen = [self.first, self.second], [self.alpha], frozen

    @property
    def w(self) -> Tensor:  # type: ignore[override]
        return torch.cat([self.first, self.second])

    def _train(self, w: Tensor, alpha: Tensor) -> Tensor:  # type: ignore[override]
        return w @ self.A @ w / 2 + w @ self.B @ alpha

    def _valid(self, w: Tensor, alpha: Tensor) -> Tensor:  # type: ignore[override]
        return w @ self.C @ w / 2 + self.d @ w


@pytest.mark.parametrize("name", SECOND_ORDER)
@pytest.mark.parametrize("frozen", [{1}, {0}, {0, 1}])
def test_the_gradient_is_the_closed_form_with_the_frozen_weights_at_rest(name: str, frozen: set[int]) -> None:
    problem, xi = TwoWeights(frozenset(frozen)), 0.07
    moves = torch.tensor([0.0 if 0 in frozen else 1.0] * 4 + [0.0 if 1 in frozen else 1.0] * 3, dtype=torch.float64)
    w, alpha = problem.w.detach(), problem.alpha.detach()
    ahead = w - xi * moves * (problem.A @ w + problem.B @ alpha)
    # dw'/dalpha = -xi B on the rows that move, and 0 on the others
    closed = -xi * problem.B.T @ (moves * (problem.C @ ahead + problem.d))
    optimizer = sgd(problem.first)
    optimizer.add_param_group({"params": [problem.second]})
    torch.testing.assert_close(estimate(name, problem, optimizer, xi=xi), closed, rtol=0, atol=1e-8)


def by_one_step_of_the_weights(job: Search, step: Step) -> list[Tensor]:
    """dL_val(w'(alpha), alpha)/dalpha, with w' made by a step in which the weights that move are functions of alpha."""
    objective, lr = job.objective, float(job.weight_optimizer.param_groups[0]["lr"])
    decay = job.weight_optimizer.param_groups[0]["weight_decay"]
    names = [name for name, _ in job.supernet.named_parameters()]
    kept = dict(job.supernet.named_parameters())
    moving = [n for n in range(len(names)) if n not in objective.frozen]

    def loss(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        logits = torch.func.functional_call(job.supernet, values, (inputs, objective.arch_weights()))
        return nn.functional.cross_entropy(logits, targets)

    with objective.virtual():
        weights = [kept[names[n]] for n in moving]
        found = torch.autograd.grad(
            loss(kept, step.weight_batch.inputs, step.weight_batch.targets), weights, create_graph=True
        )
        ahead = dict(kept)
        for n, weight, gradient in zip(moving, weights, found, strict=True):
            ahead[names[n]] = weight - lr * (gradient + decay * weight)
        value = loss(ahead, step.alpha_batch.inputs, step.alpha_batch.targets)
        return list(torch.autograd.grad(value, objective.alphas))


def prepared(estimator: str) -> tuple[Search, Step]:
    """A search whose `oles` has frozen every second candidate before its first step."""
    settings: dict[str, Any] = {"name": estimator} | ({"epsilon": 1e-7} if estimator == "finite_difference" else {})
    job = tiny_search({"name": "oles"}, estimator=settings, lr=0.5, alpha_init=1.0)
    (oles,) = job.regularizers
    assert isinstance(oles, Oles)
    oles._stopped = set(range(0, len(oles._candidates), 2))
    job.supernet.train()
    return job, Step(job.objective, *next(job.loop.batches()))


@pytest.mark.parametrize("estimator", SECOND_ORDER)
def test_frozen_candidates_have_no_part_in_the_second_order(estimator: str) -> None:
    job, step = prepared(estimator)
    assert len(job.objective.frozen) > 10
    expected = by_one_step_of_the_weights(job, step)
    job.architect.gradient(step)
    for alpha, gradient in zip(job.objective.alphas, expected, strict=True):
        torch.testing.assert_close(alpha.grad, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("frozen", [{1}, {0}, {0, 1}])
def test_frozen_weights_have_no_part_in_the_neumann_series(frozen: set[int]) -> None:
    """Against the same problem in which only the other weights exist."""
    problem, eta, terms = TwoWeights(frozenset(frozen)), 0.05, 3
    moves = torch.tensor([0.0 if 0 in frozen else 1.0] * 4 + [0.0 if 1 in frozen else 1.0] * 3, dtype=torch.float64)
    v = moves * (problem.C @ problem.w.detach() + problem.d)
    total = v
    for _ in range(terms):
        v = v - eta * moves * (problem.A @ v)
        total = total + v
    optimizer = sgd(problem.first)
    optimizer.add_param_group({"params": [problem.second]})
    found = estimate("neumann", problem, optimizer, terms=terms, eta=eta)
    torch.testing.assert_close(found, -eta * problem.B.T @ total, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", ["first_order", *SECOND_ORDER])
def test_a_weight_that_its_module_holds_fixed_stays_fixed(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A primitive of one's own may hold a weight that does not learn (`requires_grad` false)."""
    from raydarts.spaces.darts_cnn import DartsCnn

    build = DartsCnn.supernet

    def holding(*arguments: Any) -> nn.Module:
        network = build(*arguments)
        network.stem.op[0].weight.requires_grad_(False)  # type: ignore[index,union-attr]
        return network

    monkeypatch.setattr(DartsCnn, "supernet", holding)
    settings: dict[str, Any] = {"name": estimator} | ({"epsilon": 1e-7} if estimator == "finite_difference" else {})
    job = tiny_search(estimator=settings, lr=0.5, alpha_init=1.0)
    assert len(job.objective.frozen) == 1
    weight = job.supernet.stem.op[0].weight  # type: ignore[index,union-attr]
    before = weight.detach().clone()
    step = Step(job.objective, *next(job.loop.batches()))
    if estimator != "first_order":
        expected = by_one_step_of_the_weights(job, step)
        job.architect.gradient(step)
        for alpha, gradient in zip(job.objective.alphas, expected, strict=True):
            torch.testing.assert_close(alpha.grad, gradient, rtol=1e-5, atol=1e-9)
    job.run_epoch()
    assert torch.equal(weight, before)
    assert not weight.requires_grad
