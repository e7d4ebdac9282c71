"""OLES: the similarity against plain formulas, when a candidate is frozen, and that it then rests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import Choose
from raydarts.search.moments import Moment, Step
from raydarts.search.regularizers.oles import Oles, column_similarity, whole_similarity
from raydarts.search.relaxations.base import Relaxation
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

BENCHMARK = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}

pytestmark = pytest.mark.usefixtures("one_thread")


def search(oles: dict[str, Any] | None = None, **changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "lr": 0.2,
        "precision": "float64",
        "space": BENCHMARK,
        "estimator": "first_order",
        "regularizers": [] if oles is None else [{"name": "oles", **oles}],
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=96)))


def first_step(job: Search) -> Step:
    job.supernet.train()
    return Step(job.objective, *next(job.loop.batches()))


def remedy(job: Search) -> Oles:
    (found,) = job.regularizers
    assert isinstance(found, Oles)
    return found


def weights_of(job: Search) -> list[Tensor]:
    return [weight.detach().clone() for weight in job.supernet.parameters()]


def test_similarities_match_hand_computation() -> None:
    one = [torch.tensor([[3.0, 0.0], [4.0, 1.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0], [0.0]])]
    other = [torch.tensor([[4.0, 0.0], [3.0, 2.0]]), torch.tensor([[-1.0]]), torch.tensor([[0.0], [0.0]])]
    # first candidate: (12 + 12 + 2 - 1) / (sqrt(9 + 16 + 1 + 1) * sqrt(16 + 9 + 4 + 1)); the second has no gradient
    found = whole_similarity(one, other, [2, 1])
    assert found == [pytest.approx(25 / (27 * 30) ** 0.5), None]
    # columns (3, 4) . (4, 3) / 25 and 1 of the first parameter, -1 of the second
    assert column_similarity(one, other, [2, 1]) == [pytest.approx(((24 / 25 + 1) / 2 - 1) / 2), None]


@pytest.mark.parametrize("similarity", ["whole", "columns"])
def test_each_candidates_similarity_is_that_of_its_two_gradients(similarity: str) -> None:
    job = search({"frequency": 3, "similarity": similarity})
    step = first_step(job)
    job.loop.weight_gradient(job.model, step)
    found = remedy(job).state_dict()["sums"]
    arch_weights = {name: alpha.softmax(-1).detach() for name, alpha in job.alphas.items()}
    gradients = []
    for batch in (step.weight_batch, step.alpha_batch):
        net = copy.deepcopy(job.supernet)
        torch.nn.functional.cross_entropy(net(batch.inputs, arch_weights), batch.targets).backward()
        gradients.append(net)
    number = 0
    for cell, other in zip(*(cells_of(net) for net in gradients), strict=True):
        for key, operation in cell.operations.items():
            pairs = [
                (a.grad, b.grad)
                for a, b in zip(operation.parameters(), other.operations[key].parameters(), strict=True)
            ]
            if not pairs:
                continue
            if similarity == "whole":
                a, b = (torch.cat([pair[side].flatten() for pair in pairs]) for side in (0, 1))
                expected = a @ b / (a.norm() * b.norm())
            else:
                expected = torch.stack([torch.cosine_similarity(a, b, dim=0).mean() for a, b in pairs]).mean()
            assert found[number] == pytest.approx(float(expected), rel=1e-9)
            number += 1
    assert number == len(found) == 3 * 6 * 2  # cells, edges, convolutions


def cells_of(net: Any) -> list[Any]:
    return [cell for stage in net.stages for cell in stage]


def with_means(job: Search, value: Callable[[int], float]) -> Oles:
    """The remedy after its candidates' similarities have been `value(candidate)` in one step."""
    oles = remedy(job)
    for candidate in range(len(oles._candidates)):
        oles._count(candidate, value(candidate))
    return oles


def test_a_candidate_is_frozen_when_the_mean_of_so_many_steps_is_below_the_threshold() -> None:
    job = search({"frequency": 3, "threshold": 0.4})
    # candidate 0: mean .4, not below; 1: mean .39; 2: below .4 in two steps only
    for values in ((0.9, 0.17, 0.0), (0.2, 0.5, 0.0), (0.1, 0.5, 1.3)):
        assert not remedy(job).frozen()
        oles = with_means(job, lambda candidate, values=values: values[candidate] if candidate < 3 else 1.0)
    assert oles.state_dict()["stopped"] == [1]
    assert oles.frozen() == frozenset(oles._candidates[1])
    assert not oles.state_dict()["sums"]  # a new mean is begun
    oles = with_means(job, lambda candidate: -1.0)
    assert oles.state_dict()["stopped"] == [1]


def test_the_default_is_twenty_steps_and_four_tenths() -> None:
    settings = Choose("regularizer").parse("oles").settings
    assert (settings.frequency, settings.threshold, settings.similarity) == (20, 0.4, "whole")


@pytest.mark.parametrize("estimator", ["first_order", "finite_difference"])
def test_only_frozen_candidates_stop_learning(estimator: str) -> None:
    job = search({"frequency": 1, "threshold": 1.0}, estimator=estimator)
    before = weights_of(job)
    job.run_epoch()  # every candidate is frozen in the very first step
    frozen = job.objective.frozen
    assert len(frozen) == 3 * 6 * 2
    operations = {id(weight) for cell in cells_of(job.supernet) for weight in cell.operations.parameters()}
    for position, (weight, old) in enumerate(zip(job.supernet.parameters(), before, strict=True)):
        assert (id(weight) in operations) == (position in frozen)
        assert torch.equal(weight, old) == (position in frozen)


def test_the_strided_skip_connection_is_never_frozen() -> None:
    space = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}
    job = search({"frequency": 1, "threshold": 1.0}, space=space)
    job.loop.weight_gradient(job.model, first_step(job))
    frozen = job.objective.frozen
    names = [name for position, (name, _) in enumerate(job.supernet.named_parameters()) if position in frozen]
    assert any("sep_conv_3x3" in name for name in names)
    assert not any("skip_connect" in name for name in names)
    assert any("skip_connect" in name for name, _ in job.supernet.named_parameters())


def test_a_step_without_gradient_does_not_count() -> None:
    job = search({"frequency": 1, "threshold": 1.0}, relaxation=f"{__name__}:OnlyTheFirst")
    job.loop.weight_gradient(job.model, first_step(job))
    names = [name for name, _ in job.supernet.named_parameters()]
    assert {names[position].split("-")[1].split(".")[0] for position in job.objective.frozen} == {"nor_conv_1x1"}


class OnlyTheFirst(Relaxation):
    """One candidate of each edge, the 1x1 convolution, has all the weight, and the others are left out."""

    NAME = "only_the_first"
    SPARSE = True

    def __call__(self, alpha: Tensor) -> Tensor:
        weights = torch.zeros_like(alpha)
        weights[:, 2] = 1
        return weights + 0 * alpha


@pytest.mark.parametrize("setting", [{}, {"similarity": "columns"}, {"threshold": 0.9}, {"frequency": 1}])
def test_each_setting_acts(setting: dict[str, Any]) -> None:
    base = {"frequency": 2, "threshold": 0.2}
    job = search(base | setting)
    job.run_epoch()
    stopped = remedy(job).state_dict()["stopped"]
    plain = search(base)
    plain.run_epoch()
    other = remedy(plain).state_dict()["stopped"]
    assert 0 < len(other) < 36
    assert (stopped == other) == (not setting)


def test_makes_no_pass_at_neutral_or_when_all_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    def passes(job: Search, steps: int) -> list[int]:
        found = []
        right = job.objective.data_loss
        monkeypatch.setattr(job.objective, "data_loss", lambda *args: (found.append(1), right(*args))[1])
        counts = []
        for _ in range(steps):
            before = len(found)
            job.loop.weight_gradient(job.model, first_step(job))
            counts.append(len(found) - before)
        return counts

    assert passes(search({"threshold": -1.0}), 2) == [1, 1]
    assert passes(search({"threshold": 1.0, "frequency": 2}), 4) == [2, 2, 1, 1]


def test_pass_does_not_change_the_model() -> None:
    job, plain = search({}), search()
    for each in (job, plain):
        each.loop.weight_gradient(each.model, first_step(each))
    for one, other in zip(job.supernet.parameters(), plain.supernet.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)
    state, other_state = job.supernet.state_dict(), plain.supernet.state_dict()
    assert all(torch.equal(state[key], other_state[key]) for key in state)


def test_new_supernet_starts_unfrozen() -> None:
    oles = with_means(search({"frequency": 1}), lambda candidate: 0.0)
    oles.on_epoch_start(Moment(1, 4))
    assert oles.frozen()
    oles.on_epoch_start(Moment(2, 4, stage=1, stage_epochs=2))
    assert not oles.frozen()


def test_killed_and_resumed_it_ends_bit_identical(tmp_path: Path) -> None:
    whole, first, second = (search({"frequency": 3, "threshold": 0.0}, epochs=3) for _ in range(3))
    while not whole.finished:
        whole.run_epoch()
    first.run_epoch()
    first.run_epoch()
    torch.save(first.state_dict(), tmp_path / "state")
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert remedy(second).state_dict() == remedy(first).state_dict()
    assert remedy(second).frozen()
    assert remedy(second).state_dict()["sums"]  # in the midst of a mean
    second.run_epoch()
    assert remedy(second).state_dict() == remedy(whole).state_dict()
    assert all(torch.equal(*pair) for pair in zip(weights_of(second), weights_of(whole), strict=True))
