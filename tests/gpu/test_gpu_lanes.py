"""Searches as lanes of one supernet on a GPU. All are skipped without one.

python -m pytest -m gpu tests/gpu
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from raydarts.runs.identity import differences
from raydarts.search.fused import FusedSearch
from raydarts.search.model import copied
from raydarts.search.search import Search
from raydarts.states import State
from tests.scripts import script

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DEVICE = "cuda"
NUMBERS: list[dict[str, Any]] = [
    {"seed": 0},
    {"seed": 1, "grad_clip": 0.1, "momentum": 0.5, "regularizers": ["beta_decay"]},
    {"seed": 2, "weight_decay": 0.01, "relaxation": "dirichlet"},
]
"""Lanes of one group that differ in what they may differ in."""
SPACE = {"name": "nasbench201", "channels": 4, "cells_per_stage": 1}
"""A space without max pools, whose backward pass on a GPU may add in any order."""


def lanes(device: str = DEVICE, **common: Any) -> list[Search]:
    tiny = script("benchmarks/gpu_lanes.py").tiny
    return [tiny(torch.device(device), **common, **numbers) for numbers in NUMBERS]


def run(searches: Sequence[Search], epochs: int) -> None:
    group = FusedSearch()
    for _ in range(epochs):
        for outcome in group.run_epoch(searches):
            assert not isinstance(outcome, Exception), outcome


def kept(search: Search) -> State:
    """The whole state without the times in it."""
    return {name: value for name, value in search.state_dict().items() if name != "metrics"}


@pytest.mark.parametrize("estimator", ["first_order", {"name": "finite_difference", "epsilon": 0.01}, "exact_hvp"])
@pytest.mark.parametrize("space", ["darts-cnn", "nasbench201"])
def test_lanes_on_the_gpu_are_the_searches_on_the_cpu(estimator: Any, space: str) -> None:
    """Batches are the CPU's, and nothing else is drawn: a GPU's generator draws others."""
    bench = script("benchmarks/gpu_lanes.py")
    settings = {"estimator": estimator, "space": bench.TINY[space]}
    here, there = (
        [bench.tiny(torch.device(device), seed, **settings) for seed in range(3)] for device in ("cpu", DEVICE)
    )
    for pair in zip(here, there, strict=True):
        bench.begun_alike(*pair)
    for search in here:
        search.run_epoch()
    run(there, 1)
    for lane, alone in zip(there, here, strict=True):
        assert bench.apart(lane, alone) < 1e-9


def test_a_group_equals_the_same_searches_alone_on_the_gpu() -> None:
    """All random draws are in it. Each lane draws from its own generators, as alone."""
    bench = script("benchmarks/gpu_lanes.py")
    together, alone = lanes(estimator="finite_difference"), lanes(estimator="finite_difference")
    run(together, 2)
    for lane, search in zip(together, alone, strict=True):
        for _ in range(2):
            search.run_epoch()
        assert bench.apart(lane, search) < 1e-9
        assert not list(differences(lane.state_dict()["streams"], search.state_dict()["streams"]))


@pytest.mark.parametrize("estimator", ["first_order", "finite_difference"])
def test_a_group_killed_and_resumed_on_the_gpu_ends_bit_identical(estimator: str) -> None:
    whole, first, resumed = (lanes(space=SPACE, estimator=estimator) for _ in range(3))
    run(whole, 3)
    run(first, 1)
    for old, new in zip(first, resumed, strict=True):
        new.load_state_dict(copied(old.state_dict()))
    run(resumed, 2)
    for one, other in zip(whole, resumed, strict=True):
        assert one.epoch == other.epoch == 3
        assert not list(differences(kept(one), kept(other)))


def test_a_lane_that_diverges_on_the_gpu_leaves_the_others_bits() -> None:
    bench = script("benchmarks/gpu_lanes.py")
    whole, broken = lanes(space=SPACE), lanes(space=SPACE)
    run(whole, 1)
    broken[1] = bench.tiny(torch.device(DEVICE), space=SPACE, **NUMBERS[1] | {"lr": 1e160})
    outcomes = FusedSearch().run_epoch(broken)
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    for lane in (0, 2):
        assert not list(differences(kept(whole[lane]), kept(broken[lane])))


def weights(search: Search) -> dict[str, Any]:
    """Weights as arrays: a queue passes tensors by a file of the process that made them."""
    return {name: value.cpu().numpy() for name, value in search.supernet.state_dict().items()}


def _a_group(gate: Any, answers: Any, device: str) -> None:
    searches = lanes(device, space=SPACE)
    gate.wait(120)
    run(searches, 2)
    answers.put([weights(search) for search in searches])


def test_two_groups_on_one_gpu_do_not_disturb_each_other() -> None:
    alone = lanes(space=SPACE)
    run(alone, 2)
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_a_group, args=(gate, answers, DEVICE), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        for search, theirs in zip(alone, answers.get(timeout=150), strict=True):
            assert all(np.array_equal(value, theirs[name]) for name, value in weights(search).items())
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0


def test_memory_of_a_group_does_not_grow() -> None:
    searches, group = lanes(space=SPACE), FusedSearch()
    group.run_epoch(searches)
    group.run_epoch(searches)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        group.run_epoch(searches)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= 1.01 * before
