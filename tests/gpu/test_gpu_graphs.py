"""Steps of a search as CUDA graphs. All are skipped without a GPU. On a CPU: tests/unit/search/test_graphs.py.

python -m pytest -m gpu tests/gpu
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raydarts.runs.identity import differences
from raydarts.search.fused import FusedSearch, GraphedSearch
from raydarts.search.model import copied
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from tests.gpu.test_gpu_lanes import DEVICE, SPACE, kept
from tests.scripts import script

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
STEPS = 8


def made(kind: type[Search], seed: int = 0, **changed: Any) -> Search:
    bench = script("benchmarks/gpu_lanes.py")
    plain = bench.tiny(torch.device("cpu"), seed, space=SPACE, cuda_graph=True, epochs=3, **changed).settings
    return kind(SearchSettings.model_validate(plain.model_dump()), bench.splits(20 * STEPS, 8), DEVICE)


def replays(group: FusedSearch) -> int:
    repeated = group._repeated
    assert repeated is not None
    assert repeated.refused is None
    return repeated.replays


@pytest.mark.parametrize("estimator", ["first_order", "finite_difference", "exact_hvp"])
def test_a_search_with_graphs_is_the_search_without(estimator: str) -> None:
    bench = script("benchmarks/gpu_lanes.py")
    graphed, plain = made(GraphedSearch, estimator=estimator), made(Search, estimator=estimator)
    for _ in range(2):
        graphed.run_epoch()
        plain.run_epoch()
    assert bench.apart(graphed, plain) < 1e-9
    assert replays(graphed._group) == 2 * (STEPS - 3)  # type: ignore[attr-defined]


def test_lanes_with_graphs_have_the_bits_of_lanes_without() -> None:
    numbers: list[dict[str, Any]] = [{}, {"grad_clip": 0.1, "regularizers": ["beta_decay"]}, {"weight_decay": 0.01}]
    graphed, plain = ([made(Search, seed, **each) for seed, each in enumerate(numbers)] for _ in range(2))
    group, without = FusedSearch(), FusedSearch()
    without._has_graph = lambda searches: False  # type: ignore[method-assign]
    for _ in range(2):
        for outcome in (*group.run_epoch(graphed), *without.run_epoch(plain)):
            assert not isinstance(outcome, Exception), outcome
    for one, other in zip(graphed, plain, strict=True):
        assert not list(differences(kept(one), kept(other)))
    assert replays(group) == 2 * (STEPS - 3)


def test_a_search_with_graphs_that_is_killed_and_resumed_ends_bit_identical() -> None:
    whole, first, resumed = (made(GraphedSearch, estimator="finite_difference") for _ in range(3))
    first.run_epoch()
    resumed.load_state_dict(copied(first.state_dict()))
    for search in (whole, resumed):
        while not search.finished:
            search.run_epoch()
    assert not list(differences(kept(whole), kept(resumed)))


def test_memory_does_not_grow_with_each_epochs_graph() -> None:
    search = made(GraphedSearch, estimator="finite_difference")
    used = []
    for _ in range(3):
        search.run_epoch()
        torch.cuda.synchronize()
        used.append(torch.cuda.memory_reserved())
    assert used[2] == used[1]


def test_a_step_that_draws_runs_without_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    drawing, plain = (made(kind, regularizers=["drop_path"]) for kind in (GraphedSearch, Search))
    for _ in range(2):
        drawing.run_epoch()
        plain.run_epoch()
    assert script("benchmarks/gpu_lanes.py").apart(drawing, plain) < 1e-9
    assert "runs without a CUDA graph: it draws at random" in caplog.text
