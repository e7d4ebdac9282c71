"""Dropout on skip connections: its rates by hand, where it acts, what it draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.errors import InputError
from raydarts.registry import Choose
from raydarts.search.moments import Moment, SearchStage
from raydarts.search.phases import moment
from raydarts.spaces.transform import MixedEdge
from raydarts.streams import Streams

pytestmark = pytest.mark.usefixtures("one_thread")


def remedy(**settings: Any) -> Any:
    built = Choose("regularizer").parse({"name": "skip_dropout", **settings}).build()
    built.bind(Streams(0))
    return built


def space(name: str = "darts-cnn") -> Any:
    return Choose("space").parse(name).build()


def rate(built: Any, now: Moment) -> float:
    built.on_epoch_start(now)
    return float(built.state_dict()["probability"])


def edge(stride: int = 1) -> MixedEdge:
    return MixedEdge(0, "normal", 0, 0, 2, stride, 2)


def test_rates_of_a_stage_of_25_epochs() -> None:
    built = remedy(rate=0.4)
    found = [rate(built, Moment(epoch, 25, 0, epoch, 25)) for epoch in (0, 9, 10, 12, 24)]
    assert found == pytest.approx([0.384, 0.24, 0.4, 0.4 * math.exp(-0.4), 0.02432402505], rel=1e-9)


def test_rates_of_three_stages() -> None:
    built, stages = remedy(rate=[0.0, 0.4, 0.7]), (SearchStage(25),) * 3
    found = [rate(built, moment(stages, epoch)) for epoch in (0, 10, 24, 25, 35, 50, 60, 74)]
    last = math.exp(-2.8)
    assert found == pytest.approx([0, 0, 0, 0.384, 0.4, 0.672, 0.7, 0.7 * last], rel=1e-9)


def test_settings_replace_the_published_constants() -> None:
    now = Moment(4, 8, 0, 4, 8)
    assert rate(remedy(), now) == pytest.approx(0.4 * 3 / 8)
    assert rate(remedy(warmup_epochs=3), now) == pytest.approx(0.4 * math.exp(-0.2))
    assert rate(remedy(warmup_epochs=3, decay=1.0), now) == pytest.approx(0.4 * math.exp(-1))
    assert rate(remedy(warmup_epochs=0, decay=0.0), now) == pytest.approx(0.4)


def dropped(built: Any, x: Tensor, stride: int = 1, primitive: str = "skip_connect", training: bool = True) -> Tensor:
    found: Tensor = built.transform().on_operation(x, edge(stride), primitive, training=training)
    return found


def test_values_are_dropped_and_the_mean_is_kept() -> None:
    built = remedy(rate=0.5, warmup_epochs=0)
    ones = torch.ones(200, 2, 10, 10, dtype=torch.float64)
    built.on_epoch_start(Moment(0, 2, 0, 0, 2))
    found = dropped(built, ones)
    assert found.unique().tolist() == [0.0, 2.0]
    assert float(found.mean()) == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(found[0, 0], found[0, 1])  # value by value
    assert not torch.equal(found, dropped(built, ones))  # drawn anew at each edge
    again = remedy(rate=0.5, warmup_epochs=0)
    again.on_epoch_start(Moment(0, 2, 0, 0, 2))
    assert torch.equal(found, dropped(again, ones))  # from its stream alone


def test_acts_only_on_skip_connections_in_training() -> None:
    ones = torch.ones(8, 2, 4, 4)
    built, strided = remedy(rate=0.5, warmup_epochs=0), remedy(rate=0.5, warmup_epochs=0, strided=True)
    for each in (built, strided):
        assert dropped(each, ones) is ones  # before the first epoch
        each.on_epoch_start(Moment(0, 2, 0, 0, 2))
        assert dropped(each, ones, primitive="sep_conv_3x3") is ones
        assert dropped(each, ones, training=False) is ones
    assert dropped(built, ones, stride=2) is ones
    assert not torch.equal(dropped(strided, ones, stride=2), ones)


def test_loaded_state_acts_before_an_epoch_starts() -> None:
    one, other = remedy(), remedy()
    one.on_epoch_start(Moment(1, 8, 0, 1, 8))
    other.load_state_dict(one.state_dict())
    ones = torch.ones(8, 2, 4, 4)
    assert torch.equal(dropped(one, ones), dropped(other, ones))
    assert not torch.equal(dropped(one, ones), ones)


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(InputError, match="robust_s4 has no skip_connect"):
        remedy().check(space("robust_s4"), 5)
    remedy(rate=0.0).check(space("robust_s4"), 5)
    for name in ("darts-cnn", "robust_s1", "robust_s2", "robust_s3", "nasbench201"):
        remedy().check(space(name), 5)
    three = remedy(rate=[0.0, 0.4, 0.7])
    three.check_stages((SearchStage(1),) * 3)
    with pytest.raises(InputError, match="rate has 3 values and the search 1 stages"):
        three.check_stages((SearchStage(1),))
    assert remedy(rate=[0.0, 0.0]).transform() is None
