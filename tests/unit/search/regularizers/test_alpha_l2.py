"""alpha_l2: Adam's weight decay on alpha."""

from __future__ import annotations

import pytest
import torch
from tiny_search import first_step, remedy, tiny_search

from raydarts.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_multiplies_only_alphas_weight_decay() -> None:
    assert remedy("alpha_l2").optimizer_overrides({"arch_weight_decay": 1e-3}) == {
        "arch_weight_decay": pytest.approx(9e-3)
    }
    job = tiny_search({"name": "alpha_l2", "factor": 4}, arch_weight_decay=0.5, weight_decay=0.25)
    assert job.architect.optimizer.param_groups[0]["weight_decay"] == 2.0
    assert job.weight_optimizer.param_groups[0]["weight_decay"] == 0.25


def test_alpha_takes_adams_first_step_of_its_gradient_and_the_decay() -> None:
    job = tiny_search({"name": "alpha_l2", "factor": 4}, arch_weight_decay=0.5, arch_lr=0.1, alpha_init=1.0)
    step = first_step(job, 0)
    before = {name: alpha.detach().clone() for name, alpha in job.alphas.items()}
    job.architect.gradient(step)
    gradients = {name: alpha.grad + 2.0 * before[name] for name, alpha in job.alphas.items()}
    job.architect.step()
    for name, alpha in job.alphas.items():  # bias-corrected, the first step is lr * g / (|g| + 1e-8)
        expected = before[name] - 0.1 * gradients[name] / (gradients[name].abs() + 1e-8)
        torch.testing.assert_close(alpha.detach(), expected, rtol=1e-12, atol=1e-12)


def test_combines_with_weight_l2_but_not_with_another_alpha_l2() -> None:
    job = tiny_search("weight_l2", "alpha_l2")
    assert job.architect.optimizer.param_groups[0]["weight_decay"] == pytest.approx(9e-3)
    with pytest.raises(InputError, match="alpha_l2 stands twice"):
        tiny_search("alpha_l2", "alpha_l2")
