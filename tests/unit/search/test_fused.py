"""Searches as lanes of one supernet equal the same searches alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, load_splits
from raydarts.errors import NonFiniteError
from raydarts.registry import members
from raydarts.search.fused import FusedSearch, structure, unfusable
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SPACE = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}
MEASURED = ("seconds", "memory_mb")


@cache
def splits() -> AnySplits:
    return load_splits(DataSettings.model_validate({"dataset": "digits", "limit": 96, "validation_fraction": 0.25}))


def settings(**changed: Any) -> SearchSettings:
    """A tiny search in float64, whose alpha begins at different values."""
    tiny = {"epochs": 2, "batch_size": 16, "precision": "float64", "alpha_init": 0.1, "arch_lr": 0.05, "space": SPACE}
    return SearchSettings.model_validate(tiny | changed)


def different(name: str, **common: Any) -> list[SearchSettings]:
    """Three searches that differ in every number that lanes may differ in."""
    estimator: list[Any] = [{"name": name}] * 3
    if name != "first_order":
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


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in MEASURED:
                yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, value


def require_equal(fused: Any, alone: Any, tolerance: float = 1e-12) -> None:
    """Every tensor and number is equal up to rounding; everything else is equal."""
    ours, theirs = dict(leaves(fused)), dict(leaves(alone))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        expected = theirs[path]
        if isinstance(value, Tensor) and value.is_floating_point():
            torch.testing.assert_close(
                value, expected, rtol=tolerance, atol=tolerance, msg=lambda m, p=path: f"{p}: {m}"
            )
        elif isinstance(value, Tensor):
            assert torch.equal(value, expected), path
        elif isinstance(value, float):
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9), path
        else:
            assert value == expected, path


def run(searches: list[Search], epochs: int) -> list[list[Any]]:
    group = FusedSearch()
    return [group.run_epoch(searches) for _ in range(epochs)]


def compared(chosen: list[SearchSettings], epochs: int = 2, tolerance: float = 1e-12) -> None:
    fused = [Search(each, splits()) for each in chosen]
    rows = run(fused, epochs)
    for lane, each in enumerate(chosen):
        alone = Search(each, splits())
        for epoch in range(epochs):
            require_equal(rows[epoch][lane], alone.run_epoch(), tolerance)
        require_equal(fused[lane].state_dict(), alone.state_dict(), tolerance)


@pytest.mark.parametrize("name", list(members("estimator")))
def test_lanes_equal_the_same_searches_alone(name: str) -> None:
    compared(different(name))
