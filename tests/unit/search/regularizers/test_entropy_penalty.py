"""entropy_penalty."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_search import first_step, remedy, tiny_search

from raydarts.search.moments import EpochReport, Moment
from raydarts.search.probes.entropy import Entropy
from raydarts.search.regularizers.entropy_penalty import mean_entropy

pytestmark = pytest.mark.usefixtures("one_thread")


def test_entropy_matches_hand_computation() -> None:
    rows = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64)
    unlike = torch.tensor([[0.3, 0.3]], dtype=torch.float64)  # not normalised: 1/2 and 1/2
    ln2 = math.log(2)
    assert float(mean_entropy({"normal": rows})) == pytest.approx((1.5 * ln2 + 0) / 2)
    assert float(mean_entropy({"normal": rows, "reduce": unlike})) == pytest.approx((1.5 * ln2 + 0 + ln2) / 3)
    per_layer = torch.stack([rows, rows.flip(0)])
    assert float(mean_entropy({"normal": per_layer})) == pytest.approx(0.75 * ln2)
    measured = Entropy(Entropy.Settings()).measure(EpochReport(1, 1, None, {"normal": rows}, {}))  # type: ignore[arg-type]
    assert measured["entropy_normal"] == pytest.approx(float(mean_entropy({"normal": rows})))


def test_the_gradient_is_finite_where_a_candidate_is_gone() -> None:
    weights = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    mean_entropy({"cell": weights}).backward()
    assert bool(torch.isfinite(weights.grad).all())


def test_strength_and_ramp() -> None:
    halves = {"cell": torch.full((2, 2), 0.5, dtype=torch.float64)}
    for ramp, factors in {"linear": [None, 0.5, 1.0], "turning": [-1.0, 0.0, 1.0], "constant": [1.0] * 3}.items():
        penalty = remedy("entropy_penalty", strength=3.0, ramp=ramp)
        for epoch, factor in zip((0, 2, 4), factors, strict=True):
            penalty.on_epoch_start(Moment(epoch, 5))
            found = penalty.penalty(halves, halves)
            assert (
                found is None if factor is None else float(found) == pytest.approx(3 * factor * math.log(2), abs=1e-12)
            )


def test_alpha_gradient_passes_through_the_softmax() -> None:
    plain, job = tiny_search(alpha_init=1.0), tiny_search({"name": "entropy_penalty", "strength": 2.0}, alpha_init=1.0)
    for each in (plain, job):
        each.architect.gradient(first_step(each, 1))  # the last of two epochs: the whole strength
    edges = sum(len(alpha) for alpha in job.alphas.values())
    for name, alpha in job.alphas.items():
        p = alpha.detach().softmax(-1)
        entropy = -(p * p.log()).sum(-1, keepdim=True)
        expected = -2.0 / edges * p * (p.log() + entropy)  # d/dalpha_k of -sum p log p
        torch.testing.assert_close(alpha.grad - plain.alphas[name].grad, expected, rtol=1e-8, atol=1e-11)


def test_lowers_the_entropy() -> None:
    def entropy(*regularizers: object) -> float:
        job = tiny_search(*regularizers, alpha_init=0.5)
        while not job.finished:
            job.run_epoch()
        return float(mean_entropy(job.model.arch_weights()))

    strong = {"name": "entropy_penalty", "strength": 50.0, "ramp": "constant"}
    assert entropy(strong) < entropy() < entropy({**strong, "ramp": "turning"})
