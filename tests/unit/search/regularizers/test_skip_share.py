"""skip_share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_search import first_step, remedy, space, tiny_search

from raydarts.errors import InputError
from raydarts.search.moments import Moment

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_penalty_worked_by_hand_where_some_edges_have_no_skip() -> None:
    s1 = space("robust_s1")
    penalty = remedy("skip_share", strength=2.0)
    penalty.attach(s1, None)
    penalty.on_epoch_start(Moment(3, 10))
    weights = {name: torch.tensor([[0.9, 0.1]] * len(cell.edges)).double() for name, cell in s1.cells.items()}
    by_hand = [
        0.9 if row[0] == "skip_connect" else 0.1
        for cell in s1.cells.values()
        for row in cell.candidates
        if "skip_connect" in row
    ]
    assert 0 < len(by_hand) < 28
    assert 0.1 in by_hand
    assert float(penalty.penalty({}, weights)) == pytest.approx(2 * sum(by_hand) / len(by_hand))
    per_layer = {name: torch.stack([value, 1 - value]) for name, value in weights.items()}
    assert float(penalty.penalty({}, per_layer)) == pytest.approx(1.0)


def test_the_ramp() -> None:
    nb201 = space("nasbench201")
    weights = {"cell": torch.full((6, 5), 0.2, dtype=torch.float64)}
    penalty = remedy("skip_share", strength=2.0, ramp="linear")
    penalty.attach(nb201, None)
    found = []
    for epoch in (0, 1, 2):
        penalty.on_epoch_start(Moment(epoch, 3))
        value = penalty.penalty({}, weights)
        found.append(None if value is None else float(value))
    assert found == [None, pytest.approx(0.2), pytest.approx(0.4)]


def test_a_space_without_skips_is_refused_and_a_stage_without_is_not() -> None:
    whole = space("nasbench201")
    cells = {"cell": replace(whole.cells["cell"], candidates=(("none", "nor_conv_3x3"),) * 6)}
    without = whole.narrowed(cells)
    penalty = remedy("skip_share")
    penalty.check(whole, 5)
    with pytest.raises(InputError, match="no skip_connect on any edge"):
        penalty.check(without, 5)
    penalty.attach(without, None)
    penalty.on_epoch_start(Moment(0, 5))
    assert penalty.penalty({}, {"cell": torch.full((6, 2), 0.5)}) is None


def test_alpha_gradient_passes_through_the_softmax() -> None:
    plain, job = tiny_search(alpha_init=1.0), tiny_search({"name": "skip_share", "strength": 3.0}, alpha_init=1.0)
    for each in (plain, job):
        each.architect.gradient(first_step(each, 0))
    edges = sum(len(alpha) for alpha in job.alphas.values())
    for name, alpha in job.alphas.items():
        candidates = job.space.cells[name].candidates[0]
        skip = torch.tensor([float(primitive == "skip_connect") for primitive in candidates], dtype=torch.float64)
        p = alpha.detach().softmax(-1)
        share = (p * skip).sum(-1, keepdim=True)
        expected = 3.0 / edges * p * (skip - share)
        torch.testing.assert_close(alpha.grad - plain.alphas[name].grad, expected, rtol=1e-8, atol=1e-11)
