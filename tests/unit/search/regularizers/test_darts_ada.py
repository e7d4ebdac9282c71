"""darts_ada: the search really goes back, and on with another weight decay."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
import torch
from tiny_search import all_state, remedy, report, tiny_search, with_eigenvalues

from raydarts.errors import InputError
from raydarts.search.moments import SearchStage
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.search import Search

pytestmark = pytest.mark.usefixtures("one_thread")

SOON = {"every": 1, "window": 1, "lag": 2, "min_epochs": 1}
# By epochs run. The third is a rise over the first, so are the fifth and the seventh (at position 3 again).
EIGENVALUES = [1.0, 1.0, 2.0, 1.0, 3.0, 1.0, 9.0, 1.0, 1.0, 1.0]


def search(**settings: Any) -> Search:
    ada = {"name": "darts_ada", **SOON, "factor": 10.0, "cap": 0.03, **settings}
    return tiny_search(ada, {"name": "drop_path", "probability": 0.3}, epochs=4, weight_decay=1e-3)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    with_eigenvalues(monkeypatch, lambda epoch: EIGENVALUES[epoch - 1])


def decay(job: Search) -> float:
    return float(job.weight_optimizer.param_groups[0]["weight_decay"])


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("scripted")
def test_returns_to_the_earlier_state_bit_for_bit_with_more_weight_decay() -> None:
    job = search()
    job.run_epoch()
    first, genotypes = all_state(job), list(job.genotypes)
    job.run_epoch()
    second = all_state(job)
    assert not same(first, second)
    metrics = job.run_epoch()
    assert metrics["returned_to"] == 1
    assert metrics["returned_because"] == "the dominant eigenvalue is 2 times that of epoch 1"
    assert same(all_state(job), first)  # weights, statistics, alpha, momentum, Adam's moments
    assert decay(job) == pytest.approx(0.01)
    assert job.genotypes == genotypes
    assert (job.epoch, job.position, job.epochs, job.finished) == (3, 1, 6, False)
    lr = job.weight_optimizer.param_groups[0]["lr"]
    assert lr == pytest.approx(0.025 * (1 + 2**-0.5) / 2)  # the cosine after one epoch of four
    metrics = job.run_epoch()
    assert (metrics["epoch"], metrics["position"]) == (4, 2)
    assert "returned_to" not in metrics
    assert not same(all_state(job), second)  # the second epoch again, with other draws and another weight decay


@pytest.mark.usefixtures("scripted")
def test_raises_weight_decay_to_the_cap_then_runs_to_the_end() -> None:
    job = search()
    decays, positions = [], []
    while not job.finished:
        job.run_epoch()
        decays.append(decay(job))
        positions.append(job.position)
    assert positions == [1, 2, 1, 2, 1, 2, 3, 4]
    assert decays == pytest.approx([0.001, 0.001, 0.01, 0.01, 0.03, 0.03, 0.03, 0.03], rel=1e-12)
    assert job.result()["stopped_early"] is None
    assert len(job.genotypes) == 4
    assert job.regularizers[0].state_dict()["found"] == [[1, 1.0], [2, 1.0], [3, 9.0], [4, 1.0]]


@pytest.mark.usefixtures("scripted")
def test_stops_at_the_cap_like_darts_es() -> None:
    job = search(at_cap="stop")
    while not job.finished:
        job.run_epoch()
    assert job.epoch == 7
    assert job.result()["stopped_early"] == "the dominant eigenvalue is 9 times that of epoch 1"
    assert job.result()["genotype"] == job.genotypes[0].to_json()


@pytest.mark.usefixtures("scripted")
def test_killed_and_resumed_it_ends_bit_identical() -> None:
    whole, saved = search(), []
    while not whole.finished:
        whole.run_epoch()
        buffer = BytesIO()
        torch.save(whole.state_dict(), buffer)
        saved.append(buffer.getvalue())
    for killed in (2, 3, 6):  # before the first return, right after it, and between the second and the third
        job = search()
        job.load_state_dict(torch.load(BytesIO(saved[killed - 1]), weights_only=True))
        assert job.epoch == killed
        while not job.finished:
            job.run_epoch()
        assert same(all_state(job), all_state(whole)), killed
        assert job.genotypes == whole.genotypes
        assert decay(job) == decay(whole)
        timeless = [
            {k: v for k, v in each.metrics.items() if k not in ("seconds", "memory_mb")} for each in (job, whole)
        ]
        assert timeless[0] == timeless[1]


def test_returns_with_real_eigenvalues() -> None:
    job = tiny_search({"name": "darts_ada", **SOON, "lag": 1, "ratio": 1e-6, "factor": 40.0})
    job.run_epoch()
    first = all_state(job)
    job.run_epoch()
    assert same(all_state(job), first)
    assert decay(job) == pytest.approx(40 * 3e-4)


def test_published_defaults_and_how_far_back_the_search_must_remember() -> None:
    ada = remedy("darts_ada")
    assert ada.optimizer_overrides({"weight_decay": 3e-4}) == {"weight_decay": 3e-4}
    assert ada.remembers() == 12
    decays, epoch = [], 0
    while epoch < 60:
        epoch += 1
        stop = ada.should_stop(report(epoch, eigenvalue=2.0**epoch))
        if stop is not None:
            assert stop.epoch == epoch - 12
            decays.append(stop.go_on_with["weight_decay"])
            epoch = stop.epoch
    assert decays == [pytest.approx(3e-3), 0.03]  # exactly the cap, so that it knows it is there
    code = remedy("darts_ada", factor=3.0, cap=0.0243)
    code.optimizer_overrides({"weight_decay": 0.0081})
    stop = next(found for n in range(1, 40) if (found := code.should_stop(report(n, eigenvalue=2.0**n))))
    assert stop.go_on_with == {"weight_decay": 0.0243}


def test_never_returns_to_before_its_last_return() -> None:
    ada = remedy("darts_ada")
    ada.optimizer_overrides({"weight_decay": 1e-4})
    found = []
    for epoch in range(1, 31):
        if (stop := ada.should_stop(report(epoch, eigenvalue=1.0 if epoch < 28 else 9.0))) is not None:
            found.append((epoch, stop.epoch))
            break
    assert found == [(28, 16)]
    for epoch in range(17, 40):  # sharper at once, but the states before epoch 16 are gone
        if (stop := ada.should_stop(report(epoch, eigenvalue=9.0))) is not None:
            found.append((epoch, stop.epoch))
            break
    assert found == [(28, 16), (28, 16)]


def test_needs_a_weight_decay_that_no_other_remedy_sets() -> None:
    with pytest.raises(InputError, match="darts_ada multiplies the weight decay, which is 0"):
        tiny_search("darts_ada", weight_decay=0)
    tiny_search({"name": "darts_ada", "ratio": None}, weight_decay=0)
    with pytest.raises(InputError, match="weight_l2 and darts_ada both set weight_decay"):
        tiny_search("weight_l2", "darts_ada")


def test_neutral_setting_keeps_no_states() -> None:
    assert remedy("darts_ada", ratio=None).remembers() == 0


class TwoStages(Regularizer):
    """Two epochs with one supernet, three with another."""

    NAME = "two_stages"

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        return (SearchStage(2), SearchStage(3))


def test_returns_only_within_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    with_eigenvalues(monkeypatch, lambda epoch: 2.0**epoch)
    ada = {"name": "darts_ada", **SOON, "factor": 100.0}  # two epochs back
    job = tiny_search(ada, {"name": f"{__name__}:TwoStages"}, epochs=5)
    positions = []
    while not job.finished:
        job.run_epoch()
        positions.append(job.position)
    assert positions == [1, 2, 3, 4, 3, 4, 5]  # at 4 it would return to 2, of the first stage; at 5 to 3
    assert decay(job) == 0.03
