"""Searches as lanes of one supernet equal the same searches alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, load_splits
from raydarts.data.text import TextTokens
from raydarts.data.text_splits import TextSplits
from raydarts.errors import NonFiniteError
from raydarts.registry import members
from raydarts.search import fused
from raydarts.search.fused import FusedSearch, unfusable
from raydarts.search.model import copied
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from tests.unit.search.lanes import require_equal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SPACE = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}


@cache
def text_splits() -> TextSplits:
    """A text of eleven tokens."""
    tokens = np.random.default_rng(0).integers(0, 11, 164)
    source = TextTokens("steps", tokens, tokens[136:], tokens[136:], tuple(map(str, range(11))))
    return TextSplits(source, tokens[:136], tokens[:76], tokens[76:136])


@cache
def splits() -> AnySplits:
    return load_splits(DataSettings.model_validate({"dataset": "digits", "limit": 112, "validation_fraction": 0.25}))


def settings(**changed: Any) -> SearchSettings:
    """A tiny search in float64, whose alpha begins at different values."""
    tiny = {"epochs": 2, "batch_size": 16, "precision": "float64", "alpha_init": 0.1, "arch_lr": 0.05, "space": SPACE}
    return SearchSettings.model_validate(tiny | changed)


def different(name: str, **common: Any) -> list[SearchSettings]:
    """Three searches that differ in every number that lanes may differ in."""
    estimator: list[Any] = [{"name": name}] * 3
    if name == "neumann":
        estimator = [
            {"name": name, "terms": 0},
            {"name": name, "terms": 3, "eta": 0.3},
            {"name": name, "terms": 1, "eta": 0.01},
        ]
    elif name != "first_order":
        estimator = [
            {"name": name, "xi": "lr"},
            {"name": name, "xi": 0.3, "grad_clip": 0.5},
            {"name": name, "xi": 0.01},
        ]
    if name == "finite_difference":
        estimator = [dict(each, epsilon=epsilon) for each, epsilon in zip(estimator, (0.01, 0.1, 1e-3), strict=True)]
    numbers = [
        {"seed": 1, "lr": 0.05, "grad_clip": 5.0},
        {"seed": 2, "lr": 0.2, "grad_clip": 0.0, "momentum": 0.5, "arch_betas": [0.9, 0.99]},
        {"seed": 3, "lr": 0.01, "grad_clip": 0.1, "weight_decay": 0.01, "arch_lr": 0.3, "arch_weight_decay": 0.1},
    ]
    return [settings(**common, **each, estimator=chosen) for each, chosen in zip(numbers, estimator, strict=True)]


def run(searches: list[Search], epochs: int) -> list[list[Any]]:
    group = FusedSearch()
    return [group.run_epoch(searches) for _ in range(epochs)]


@pytest.fixture(autouse=True)
def never_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that is run again alone equals that in any case."""

    def never(lane: Any) -> None:
        raise AssertionError(f"lane {lane.index} was run again alone")

    if not any(word in request.node.name for word in ("diverges", "fails_together")):
        monkeypatch.setattr(fused._Lane, "repeat", never)


def compared(
    chosen: list[SearchSettings], epochs: int = 2, tolerance: float = 1e-12, data: AnySplits | None = None
) -> None:
    data = data or splits()
    together = [Search(each, data) for each in chosen]
    rows = run(together, epochs)
    for lane, each in enumerate(chosen):
        alone = Search(each, data)
        for epoch in range(epochs):
            require_equal(rows[epoch][lane], alone.run_epoch(), tolerance=tolerance)
        require_equal(together[lane].state_dict(), alone.state_dict(), tolerance=tolerance)


@pytest.mark.parametrize("name", [name for name, member in members("estimator").items() if member.LANES])
def test_lanes_equal_the_same_searches_alone(name: str) -> None:
    compared(different(name))


def test_estimators_that_are_no_lanes_say_so() -> None:
    alone = [name for name, member in members("estimator").items() if not member.LANES]
    assert alone == ["published_defects"]
    for name in alone:
        assert unfusable(settings(estimator=name)) == [f"the estimator {name} does not run in lanes"]


def bits(search: Search) -> dict[str, Tensor]:
    return {**search.supernet.state_dict(), **search.alphas}


def require_same_bits(one: Search, other: Search) -> None:
    theirs = bits(other)
    assert all(torch.equal(value, theirs[name]) for name, value in bits(one).items())


def test_a_lane_that_diverges_fails_as_it_does_alone_and_leaves_the_others_bits() -> None:
    healthy = different("finite_difference")
    bad = healthy[1].model_copy(update={"lr": 1e160})
    whole, broken = ([Search(each, splits()) for each in (healthy[0], lane, healthy[2])] for lane in (healthy[1], bad))
    run(whole, 1)
    (outcomes,) = run(broken, 1)
    with pytest.raises(NonFiniteError) as alone:
        Search(bad, splits()).run_epoch()
    assert isinstance(outcomes[1], NonFiniteError)
    assert str(outcomes[1]) == str(alone.value)
    for lane in (0, 2):
        require_same_bits(whole[lane], broken[lane])


def test_repeats_and_other_orders_of_the_lanes_give_the_same_bits() -> None:
    chosen = different("finite_difference", space=SPACE | {"channels": 4})  # lanes fill the processor's vectors
    first, again = ([Search(each, splits()) for each in chosen] for _ in range(2))
    turned = [Search(chosen[lane], splits()) for lane in (2, 0, 1)]
    for group in (first, again, turned):
        run(group, 1)
    for lane in range(3):
        require_same_bits(first[lane], again[lane])
        require_same_bits(first[lane], turned[(1, 2, 0)[lane]])


def test_lanes_join_and_leave_between_epochs_and_checkpoints_fit_both_ways() -> None:
    chosen = different("finite_difference")
    alone = [Search(each, splits()) for each in chosen]
    for each in alone:
        for _ in range(2):
            each.run_epoch()
    group, lanes = FusedSearch(), [Search(each, splits()) for each in chosen]
    lanes[2].run_epoch()  # the first epoch alone
    group.run_epoch(lanes[:2])
    resumed = Search(chosen[0], splits())  # a lane goes on in a new process, in another group
    resumed.load_state_dict(lanes[0].state_dict())
    group.run_epoch([lanes[2], resumed])
    lanes[1].run_epoch()  # the last epoch alone
    for lane, other in zip((resumed, lanes[1], lanes[2]), alone, strict=True):
        require_equal(lane.state_dict(), other.state_dict())


def test_a_lane_whose_alpha_rests_draws_and_learns_as_alone() -> None:
    resting = {"regularizers": [{"name": "alpha_warmup", "epochs": 1}]}
    compared([settings(seed=1), settings(seed=2, **resting), settings(seed=3, relaxation="dirichlet")])


def test_an_epoch_that_fails_together_is_run_one_after_the_other_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(*arguments: object) -> None:
        raise ValueError("lanes of other lengths")

    monkeypatch.setattr("raydarts.search.fused.algorithm_1", wrong)
    chosen = different("first_order")[:2]
    (rows,) = run([Search(each, splits()) for each in chosen], 1)
    for row, each in zip(rows, chosen, strict=True):
        require_equal(row, Search(each, splits()).run_epoch())
    assert "2 searches together failed (ValueError: lanes of other lengths)" in caplog.text
    assert "one search after the other" in caplog.text


def test_a_step_keeps_no_graph_of_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a graph is needed by the next pass."""
    kept: list[bool] = []
    usual = fused._done

    def done(loss: Any, *rest: Any) -> None:
        kept.append(loss.value.requires_grad or loss.penalty is not None)
        usual(loss, *rest)

    monkeypatch.setattr(fused, "_done", done)
    run([Search(each, splits()) for each in different("first_order")], 1)
    assert kept
    assert not any(kept)


def test_a_full_memory_is_the_groups_and_not_a_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("raydarts.search.fused.algorithm_1", full)
    with pytest.raises(torch.OutOfMemoryError):
        run([Search(each, splits()) for each in different("first_order")], 1)


TEXT = {
    "batch_size": 4,
    "lr": 0.5,
    "text": {"bptt": 6, "short_probability": 0.3, "measured_columns": 3},
    "space": {"name": "darts-rnn", "nodes": 2, "units": 3, "input_dropout": 0.1, "cell_dropout": 0.1},
}


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ({"name": "nasbench201", "channels": 4, "cells_per_stage": 1}, "finite_difference"),
        ({"name": "robust_s4", "channels": 2, "layers": 3}, "first_order"),
        (TEXT["space"], "exact_hvp"),
    ],
    ids=["nasbench201", "noise", "text"],
)
def test_other_spaces_have_lanes(space: dict[str, Any], name: str) -> None:
    common = TEXT if space is TEXT["space"] else {"space": space}
    chosen = [settings(seed=seed, arch_lr=rate, estimator=name, **common) for seed, rate in ((1, 0.05), (2, 0.5))]
    data = text_splits() if common is TEXT else splits()
    fused = [Search(each, data) for each in chosen]
    rows = run(fused, 2)
    for lane, each in enumerate(chosen):
        alone = Search(each, data)
        for epoch in range(2):
            require_equal(rows[epoch][lane], alone.run_epoch())
        require_equal(fused[lane].state_dict(), alone.state_dict())


UNEVEN = {
    "batch_size": 4,
    "text": {"bptt": 6, "short_probability": 0.5, "measured_columns": 3},
    "space": TEXT["space"] | {"embedding_dropout": 0.1, "hidden_dropout": 0.1, "output_dropout": 0.2},
}
"""Each seed cuts the text into batches of other lengths, and into another number of them."""


@pytest.fixture
def finished_alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lanes that have taken steps alone after the first lane's pass had ended."""
    places: list[int] = []
    usual = fused.Rest.finish

    def finish(rest: fused.Rest, place: int, *arguments: Any) -> None:
        if rest.batches[place] is not None:
            places.append(place)
        usual(rest, place, *arguments)

    monkeypatch.setattr(fused.Rest, "finish", finish)
    return places


@pytest.mark.parametrize("name", [name for name, member in members("estimator").items() if member.LANES])
def test_lanes_cut_a_text_into_other_lengths(name: str, finished_alone: list[int]) -> None:
    compared(different(name, **UNEVEN), data=text_splits())
    assert finished_alone  # or every seed would make as many batches
    assert len({*finished_alone}) < 3


def test_a_lane_of_other_lengths_whose_alpha_rests_learns_as_alone(finished_alone: list[int]) -> None:
    text = UNEVEN["text"] | {"bptt_deviation": 2}
    resting = {"regularizers": [{"name": "alpha_warmup", "epochs": 1}]}
    chosen = [settings(seed=1, relaxation="dirichlet"), settings(seed=2, **resting), settings(seed=5)]
    compared([each.model_validate(each.model_dump() | UNEVEN | {"text": text}) for each in chosen], data=text_splits())
    assert finished_alone


def test_a_lane_of_other_lengths_that_diverges_leaves_the_others_as_alone() -> None:
    chosen = [settings(seed=seed, lr=rate, **UNEVEN) for seed, rate in ((1, 0.5), (2, 1e200), (3, 0.5))]
    together, alone = ([Search(each, text_splits()) for each in chosen] for _ in range(2))
    (rows,) = run(together, 1)
    with pytest.raises(NonFiniteError) as error:
        alone[1].run_epoch()
    assert str(rows[1]) == str(error.value)
    for lane in (0, 2):
        require_equal(rows[lane], alone[lane].run_epoch())
        require_equal(together[lane].state_dict(), alone[lane].state_dict())


def test_a_group_of_other_lengths_that_is_lost_ends_with_the_same_bits(finished_alone: list[int]) -> None:
    chosen = [settings(seed=seed, **UNEVEN, precision="float32") for seed in (1, 2, 3)]
    whole, lost, resumed = ([Search(each, text_splits()) for each in chosen] for _ in range(3))
    run(whole, 2)
    run(lost, 1)
    for one, other in zip(resumed, lost, strict=True):
        one.load_state_dict(copied(other.state_dict()))
    run(resumed, 1)
    assert finished_alone
    for one, other in zip(resumed, whole, strict=True):
        require_same_bits(one, other)


@pytest.mark.parametrize("first", [True, False], ids=["of the lane whose pass ends last", "of all lanes"])
def test_an_error_after_the_first_pass_has_ended_fails_together_or_alone(
    first: bool, finished_alone: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lanes' weights are those after the epoch then. What is run again starts from those before."""
    chosen = [settings(seed=seed, **UNEVEN) for seed in (1, 2, 3)]
    together, alone = ([Search(each, text_splits()) for each in chosen] for _ in range(2))
    expected = [each.run_epoch() for each in alone]
    monkeypatch.setattr(*(("raydarts.search.loop.Loop.steps",) if first else (fused, "validation")), _wrong)
    (rows,) = run(together, 1)
    failed = {*finished_alone} if first else set()
    assert finished_alone
    for lane in range(3):
        if lane in failed:
            assert isinstance(rows[lane], ValueError)
        else:
            require_equal(rows[lane], expected[lane])
            require_equal(together[lane].state_dict(), alone[lane].state_dict())
    assert ("is run again, one search after the other" in caplog.text) == (not first)


def _wrong(*arguments: object, **named: object) -> None:
    raise ValueError("wrong")
