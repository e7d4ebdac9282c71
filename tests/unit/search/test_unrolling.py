"""The gradient through many weight steps, against one graph of all steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.search.search import Search
from raydarts.search.unrolling import WeightStep, unrolled_gradient
from raydarts.tasks import Batch
from tests.parity.test_estimators import Bilevel, estimate, sgd, smooth
from tests.unit.search.regularizers.tiny_search import tiny_search

pytestmark = pytest.mark.usefixtures("one_thread")
NO_BATCH = Batch(torch.zeros(()), torch.zeros(()))


def of_problem(problem: Bilevel, optimizer: torch.optim.Optimizer, rule: WeightStep, steps: int) -> Tensor:
    (gradient,) = unrolled_gradient(problem, [NO_BATCH], [NO_BATCH], optimizer, rule, steps)  # type: ignore[arg-type]
    return gradient


def with_one_graph(problem: Bilevel, rule: WeightStep, steps: int, buffer: Tensor) -> Tensor:
    """dL_val(w_T(alpha), alpha)/dalpha by one graph over all steps, clipping included."""
    alpha = problem.alpha.detach().clone().requires_grad_()
    w, m = problem.w.detach().clone().requires_grad_(), buffer
    for _ in range(steps):
        (g,) = torch.autograd.grad(problem._train(w, alpha), w, create_graph=True)
        k = (rule.grad_clip / (g.norm() + 1e-6)).clamp(max=1.0) if rule.grad_clip else 1.0
        m = rule.momentum * m + k * g + rule.weight_decay * w
        w = w - rule.lr * m
    return torch.autograd.grad(problem._valid(w, alpha), alpha)[0]


@pytest.mark.parametrize("clip", [0.0, 0.4, 1e3])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_part_of_the_rule_is_differentiated(steps: int, clip: float) -> None:
    problem, rule = smooth(), WeightStep(0.2, 0.9, 0.05, clip)
    optimizer = sgd(problem.w)
    buffer = torch.linspace(-1, 1, 6, dtype=torch.float64)
    optimizer.state[problem.w]["momentum_buffer"] = buffer.clone()
    before = problem.w.detach().clone()
    expected = with_one_graph(problem, rule, steps, buffer)
    torch.testing.assert_close(of_problem(problem, optimizer, rule, steps), expected, rtol=0, atol=1e-12)
    assert torch.equal(problem.w.detach(), before)
    assert torch.equal(optimizer.state[problem.w]["momentum_buffer"], buffer)
    if clip == 0.4:  # it does clip
        unclipped = WeightStep(0.2, 0.9, 0.05)
        assert not torch.allclose(expected, with_one_graph(problem, unclipped, steps, buffer))


def test_plain_steps_on_a_quadratic_are_the_neumann_series() -> None:
    """T steps equal T - 1 terms: L_train is quadratic in w, and L_val is linear in w."""
    g = torch.Generator().manual_seed(3)
    a, b, d = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((5, 5), (5, 3), (5,)))
    curvature = a @ a.T / 5
    problem = Bilevel(
        lambda w, x: w @ curvature @ w / 2 + w @ b @ x,
        lambda w, x: d @ w + x.square().sum(),
        torch.randn(5, generator=g, dtype=torch.float64),
        torch.randn(3, generator=g, dtype=torch.float64),
    )
    optimizer = sgd(problem.w, weight_decay=0.2)
    series = estimate("neumann", problem, optimizer, terms=19, eta=0.1)
    torch.testing.assert_close(
        of_problem(problem, optimizer, WeightStep(0.1, 0.0, 0.2), 20), series, rtol=0, atol=1e-12
    )


def searched(**changes: Any) -> tuple[Search, Batch, Batch]:
    job = tiny_search(lr=0.5, alpha_init=1.0, **changes)
    job.run_epoch()  # momentum buffers and running statistics
    job.supernet.train()
    weight_batch, draw = next(job.loop.batches())
    return job, weight_batch, draw()


def test_one_step_on_the_supernet_is_exact_hvp() -> None:
    """The virtual step of the estimator is the search's own step, without its clipping."""
    job, weight_batch, alpha_batch = searched(estimator="exact_hvp")
    group = job.weight_optimizer.param_groups[0]
    assert group["momentum"] > 0
    rule = WeightStep(float(group["lr"]), group["momentum"], group["weight_decay"])
    found = unrolled_gradient(job.objective, [weight_batch], [alpha_batch], job.weight_optimizer, rule, 1)
    estimated = job.architect.estimator(job.objective, weight_batch, alpha_batch, job.weight_optimizer)
    for one, other in zip(found, estimated.gradients, strict=True):
        assert one.abs().max() > 1e-6
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_three_steps_on_the_supernet_are_one_graph_of_three_steps() -> None:
    job, weight_batch, alpha_batch = searched()
    further, _ = next(job.loop.batches())
    batches = [weight_batch, further]
    objective, lr = job.objective, 0.3
    kept = dict(job.supernet.named_parameters())

    def loss(values: dict[str, Tensor], batch: Batch) -> Tensor:
        logits = torch.func.functional_call(job.supernet, values, (batch.inputs, objective.arch_weights()))
        return nn.functional.cross_entropy(logits, batch.targets)

    with objective.virtual():
        values: dict[str, Any] = dict(kept)
        for t in range(3):
            found = torch.autograd.grad(loss(values, batches[t % 2]), list(values.values()), create_graph=True)
            values = {name: w - lr * g for (name, w), g in zip(values.items(), found, strict=True)}
        expected = torch.autograd.grad(loss(values, alpha_batch), objective.alphas)
    truth = unrolled_gradient(objective, batches, [alpha_batch], job.weight_optimizer, WeightStep(lr), 3)
    for one, other in zip(truth, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
