"""arch_l1, and the ramps that all penalties share."""

from __future__ import annotations

import pytest
import torch
from tiny_search import first_step, remedy, tiny_search

from raydarts.search.moments import Moment
from raydarts.search.ramps import ramped

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_ramps_at_the_first_middle_and_last_epoch() -> None:
    moments = [Moment(epoch, 11) for epoch in (0, 5, 10)]
    assert [ramped("linear", now) for now in moments] == [0.0, 0.5, 1.0]
    assert [ramped("constant", now) for now in moments] == [1.0, 1.0, 1.0]
    assert [ramped("turning", now) for now in moments] == pytest.approx([-1.0, 0.0, 1.0], abs=1e-15)
    assert ramped("turning", Moment(2, 9)) == pytest.approx(-(0.5**0.5))
    assert [ramped(ramp, Moment(0, 1)) for ramp in ("linear", "constant", "turning")] == [0.0, 1.0, -1.0]


def test_penalty_matches_hand_computation() -> None:
    alphas = {
        "normal": torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, -1.0]], dtype=torch.float64),
        "reduce": torch.tensor([[-3.0, 1.0]], dtype=torch.float64),
    }
    penalty = remedy("arch_l1", strength=0.3)
    penalty.on_epoch_start(Moment(0, 3))
    assert float(penalty.penalty(alphas, {})) == pytest.approx(0.3 * (3.5 + 1.0 + 4.0) / 3)
    ramping = remedy("arch_l1", strength=0.3, ramp="linear")
    ramping.on_epoch_start(Moment(0, 3))
    assert ramping.penalty(alphas, {}) is None
    ramping.on_epoch_start(Moment(1, 3))
    assert float(ramping.penalty(alphas, {})) == pytest.approx(0.15 * 8.5 / 3)


def test_gradient_is_the_sign_of_alpha() -> None:
    plain, job = tiny_search(alpha_init=1.0), tiny_search({"name": "arch_l1", "strength": 0.7}, alpha_init=1.0)
    edges = sum(len(alpha) for alpha in job.alphas.values())
    for each in (plain, job):
        each.architect.gradient(first_step(each, 0))
    for name, alpha in job.alphas.items():
        expected = 0.7 / edges * alpha.detach().sign()
        torch.testing.assert_close(alpha.grad - plain.alphas[name].grad, expected, rtol=1e-9, atol=1e-12)
