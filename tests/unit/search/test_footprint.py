"""The memory of a search, counted before it starts, against the memory that its tensors then take."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raydarts.data.base import Size
from raydarts.measure import Kept
from raydarts.search import footprint as counting
from raydarts.search.footprint import Footprint, data_bytes, footprint
from raydarts.search.fused import FusedSearch
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from tests.live_memory import LiveMemory

IMAGES = Size(64, 0, 16, 8, 8, 3, 10)
TEXT = Size(4000, 800, 800, vocabulary=200)
MANY_WORDS = Size(4000, 800, 800, vocabulary=10000)
BATCH = 32
CNN: dict[str, Any] = {"space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2}}
BENCH: dict[str, Any] = {"space": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1}}
RNN: dict[str, Any] = {
    "space": {"name": "darts-rnn", "units": 32},
    "text": {"bptt": 12, "short_probability": 0},
}
FIRST = {"estimator": "first_order"}
SECOND = {"estimator": {"name": "finite_difference", "xi": 0.01}}

pytestmark = pytest.mark.usefixtures("one_thread")


def settings(*parts: dict[str, Any], **further: Any) -> SearchSettings:
    given: dict[str, Any] = {"epochs": 2, "batch_size": BATCH}
    for part in parts:
        given |= part
    return SearchSettings.model_validate(given | further)


def built(chosen: SearchSettings, size: Size) -> Search:
    """A search whose epoch is one step of the whole batch."""
    return Search(chosen, counting.made_up(chosen, size))


def measured(chosen: SearchSettings, size: Size, lanes: int) -> int:
    """The most bytes of tensors in an epoch of so many searches."""
    live = LiveMemory()
    with live:
        searches = [built(chosen.model_copy(update={"seed": seed}), size) for seed in range(lanes)]
        (*outcomes,) = FusedSearch().run_epoch(searches)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    return live.most


def test_a_group_keeps_the_lanes_of_a_text_as_they_were_before_the_epoch() -> None:
    one_length, other_lengths = (
        footprint(settings(RNN | {"text": {"bptt": 3, "short_probability": share}}, FIRST), TEXT) for share in (0, 0.5)
    )
    search = built(settings(RNN, FIRST), TEXT)
    weights = sum(value.nbytes for value in search.supernet.state_dict().values())
    assert other_lengths.alone == one_length.alone
    assert other_lengths.lane is not None
    assert one_length.lane is not None
    assert other_lengths.lane - one_length.lane == 2 * weights


def test_what_is_kept_is_counted_to_the_byte() -> None:
    x = torch.ones(1000, requires_grad=True)
    kept = Kept()
    with kept.counting():
        y = x.sin()  # keeps x
        z = (y * y).sum()  # keeps y twice
    assert kept.most == x.nbytes + y.nbytes
    z.backward()
    del y, z
    with kept.counting():
        x.sin().sum()
    assert kept.most == 8000, "what was let go of does not count again"
    apart = Kept([x])
    with apart.counting():
        x.cos()
    assert apart.most == 0


def test_the_graph_of_a_gradient_counts_beside_its_pass() -> None:
    x = torch.ones(1000, requires_grad=True)
    kept = Kept()
    with kept.counting():
        y = (x * x * x).sum()  # keeps x, and x * x
        assert kept.most == 2 * x.nbytes
        torch.autograd.grad(y, x, create_graph=True)
    assert kept.most > 2 * x.nbytes


@pytest.mark.parametrize(
    ("parts", "size"),
    [((CNN, FIRST), IMAGES), ((BENCH, FIRST), IMAGES), ((RNN, FIRST), TEXT)],
    ids=["cnn", "201", "rnn"],
)
def test_two_small_batches_give_the_bytes_of_a_large_one(parts: tuple[dict[str, Any], ...], size: Size) -> None:
    chosen = settings(*parts)
    small = built(chosen.model_copy(update={"batch_size": 3}), size)
    foreseen = counting._at([counting._kept_by_a_step(small, each) for each in (2, 3)], BATCH)
    direct = counting._kept_by_a_step(built(chosen, size), BATCH)
    assert foreseen == (direct if size is IMAGES else pytest.approx(direct, rel=1e-3)), "of text, pieces share memory"


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(
    ("parts", "size"),
    [
        ((CNN, SECOND), IMAGES),
        ((BENCH, FIRST), IMAGES),
        ((RNN, SECOND), TEXT),
        ((RNN, FIRST), MANY_WORDS),
        ((RNN, SECOND, {"text": {"bptt": 3, "short_probability": 0.05}}), MANY_WORDS),
    ],
    ids=["cnn", "201", "rnn", "many words", "other lengths"],
)
def test_the_count_is_within_a_quarter_of_what_is_needed(
    parts: tuple[dict[str, Any], ...], size: Size, lanes: int
) -> None:
    chosen = settings(*parts)
    counted = footprint(chosen, size).group(lanes)
    within = 0.1 if size is MANY_WORDS else 0.25
    assert counted == pytest.approx(measured(chosen, size, lanes), rel=within)


@pytest.mark.parametrize(
    "further",
    [
        {"estimator": {"name": "exact_hvp", "xi": 0.01}},
        {"estimator": {"name": "neumann", "terms": 2}},
        {"regularizers": ["lambda_alignment"], **FIRST},
        {"regularizers": ["sdarts_adv"], **FIRST},
        {"probes": ["eigenvalue"], **FIRST},
        {"regularizers": [{"name": "partial_channels"}], **FIRST},
    ],
    ids=["exact_hvp", "neumann", "lambda_alignment", "sdarts_adv", "eigenvalue", "partial_channels"],
)
def test_what_needs_more_than_a_pass_is_counted(further: dict[str, Any]) -> None:
    chosen = settings(BENCH, further)
    assert footprint(chosen, IMAGES).alone == pytest.approx(measured(chosen, IMAGES, 1), rel=0.25)


def test_an_estimator_that_does_not_say_what_it_keeps_is_run() -> None:
    """The count of a whole step is at least that of its parts."""
    known = settings(BENCH, SECOND)
    member = known.estimator.member
    said = footprint(known, IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "KEEPS", "unknown")
        run = footprint(known, IMAGES)
    assert run.alone == pytest.approx(said.alone, rel=0.02)


def test_a_class_must_say_itself_what_it_keeps() -> None:
    member = settings(BENCH, SECOND).estimator.member
    assert member.KEEPS == "pass"
    assert type("Changed", (member,), {}).KEEPS == "unknown"


def test_searches_that_cannot_be_lanes_need_the_memory_of_one() -> None:
    alone = footprint(settings(BENCH, FIRST, relaxation={"name": "gumbel", "hard": True}), IMAGES)
    assert alone.lane is None
    assert alone.group(5) == alone.alone


def test_a_later_stage_counts_where_it_needs_more() -> None:
    counted = footprint(
        settings(CNN, FIRST, epochs=6, regularizers=[{"name": "progressive", "layers": [3, 4, 5]}]), IMAGES
    )
    assert counted.stage > 0
    assert counted.alone >= counted.stage
    assert Footprint(alone=100, lane=40, stage=90).group(2) == 90
    assert Footprint(alone=100, lane=40, stage=90).group(3) == 120


def test_bytes_of_data() -> None:
    size = Size(100, 0, 20, 8, 8, 3, 10)
    image = 8 * 8 * 3 + 8  # a byte a value, and the label
    assert data_bytes(size, 60, in_files=False, on_a_gpu=False) == 180 * image
    assert data_bytes(size, 60, in_files=False, on_a_gpu=True) == 60 * image
    assert data_bytes(size, 60, in_files=True, on_a_gpu=False) == 180 * 8
    assert data_bytes(TEXT, 4000, in_files=False, on_a_gpu=False) == 8 * 5600
