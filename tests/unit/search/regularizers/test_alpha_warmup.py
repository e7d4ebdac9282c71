"""alpha_warmup: alpha rests first."""

from __future__ import annotations

import pytest
import torch
from tiny_search import remedy, space, tiny_search

from raydarts.errors import InputError
from raydarts.search.moments import Moment, SearchStage
from raydarts.search.phases import moment

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("each_stage", "resting"), [(True, [0, 1, 4, 5]), (False, [0, 1])], ids=["each stage", "the first stage"]
)
def test_alpha_is_not_trained_at_the_start(each_stage: bool, resting: list[int]) -> None:
    warmup = remedy("alpha_warmup", epochs=2, each_stage=each_stage)
    stages = (SearchStage(4), SearchStage(4))
    found = [epoch for epoch in range(8) if warmup.epoch_overrides(moment(stages, epoch)) == {"train_alpha": False}]
    assert found == resting
    assert remedy("alpha_warmup").epoch_overrides(Moment(14, 50, 0, 14, 50)) == {"train_alpha": False}
    assert remedy("alpha_warmup").epoch_overrides(Moment(15, 50, 0, 15, 50)) == {}


def test_alpha_is_constant_then_learns() -> None:
    job = tiny_search({"name": "alpha_warmup", "epochs": 1})
    before = [alpha.detach().clone() for alpha in job.alphas.values()]
    weight = next(iter(job.supernet.parameters())).detach().clone()
    metrics = job.run_epoch()
    assert metrics["alpha_loss"] is None
    assert all(torch.equal(*pair) for pair in zip(job.alphas.values(), before, strict=True))
    assert not torch.equal(next(iter(job.supernet.parameters())), weight)
    assert job.run_epoch()["alpha_loss"] > 0
    assert not any(torch.equal(*pair) for pair in zip(job.alphas.values(), before, strict=True))


def test_warmup_over_the_whole_search_is_refused() -> None:
    warmup = remedy("alpha_warmup", epochs=5)
    with pytest.raises(InputError, match="5 epochs of a search of 5 and never learn; rest for 4 at most"):
        warmup.check(space("darts-cnn"), 5)
    warmup.check(space("darts-cnn"), 6)
    remedy("alpha_warmup", epochs=0).check(space("darts-cnn"), 1)


def test_an_epoch_in_which_alpha_rests_draws_no_alpha_batch() -> None:
    job = tiny_search({"name": "alpha_warmup", "epochs": 1})
    streams = ("alpha_order", "alpha_augment")
    before = [job.streams[name].get_state() for name in streams]
    job.run_epoch()
    assert all(torch.equal(job.streams[name].get_state(), was) for name, was in zip(streams, before, strict=True))
    job.run_epoch()
    assert not torch.equal(job.streams["alpha_order"].get_state(), before[0])


def test_a_remedy_that_needs_an_alpha_batch_while_alpha_rests_gets_one() -> None:
    job = tiny_search({"name": "alpha_warmup", "epochs": 1}, {"name": "oles", "frequency": 1})
    before = job.streams["alpha_order"].get_state()
    job.run_epoch()
    assert not torch.equal(job.streams["alpha_order"].get_state(), before)
