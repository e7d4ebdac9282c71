"""Edge normalization: a softmax over each node's incoming edges, learned with alpha, decisive for the genotype."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import members
from raydarts.search.moments import Step
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces.base import CellSpec

pytestmark = pytest.mark.usefixtures("one_thread")

SPACES = {
    "darts-cnn": {"channels": 2, "layers": 3, "nodes": 2},
    "robust_s3": {"channels": 2, "layers": 3},
    "nasbench201": {"channels": 2, "cells_per_stage": 1},
}


def search(space: str = "darts-cnn", estimator: str = "first_order", **settings: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "precision": "float64",
        "alpha_init": 1.0,
        "space": {"name": space, **SPACES[space]},
        "estimator": estimator,
        "regularizers": [{"name": "edge_normalization", **settings}],
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=64)))


def by_hand(cell: CellSpec, weights: Tensor, edges: list[float]) -> list[list[float]]:
    """Each edge's share among those that end where it ends, times its arch weights."""
    rows = []
    for edge, row, value in zip(cell.edges, weights.tolist(), edges, strict=True):
        rivals = [math.exp(other) for rival, other in zip(cell.edges, edges, strict=True) if rival.dst == edge.dst]
        rows.append([weight * math.exp(value) / sum(rivals) for weight in row])
    return rows


@pytest.mark.parametrize("space", list(SPACES))
def test_arch_weights_are_scaled_by_the_edge_shares(space: str) -> None:
    job = search(space, init=1.0)
    (own,) = job.objective.arch_parameters
    found = job.model.arch_weights()
    for name, cell in job.space.cells.items():
        assert own[name].shape == (len(cell.edges),)
        plain = job.alphas[name].detach().softmax(-1)
        expected = by_hand(cell, plain, own[name].tolist())
        torch.testing.assert_close(found[name], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
        # what comes into a node sums to 1
        sums = torch.stack([found[name][cell.incoming(dst)].sum() for dst in {edge.dst for edge in cell.edges}])
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_arch_weights_of_single_layers() -> None:
    job = search(init=1.0)
    (own,) = job.objective.arch_parameters
    one = {name: alpha.detach().softmax(-1) for name, alpha in job.alphas.items()}
    each = {name: torch.stack([weights, 2 * weights, weights.flip(-1)]) for name, weights in one.items()}
    remedy = job.regularizers[0]
    two, three = remedy.on_arch_weights(one, own), remedy.on_arch_weights(each, own)
    for name, weights in two.items():
        torch.testing.assert_close(three[name], torch.stack([weights, 2 * weights, weights.flip(-1)]))


def test_the_genotype_comes_from_the_product() -> None:
    job = search(init=0.0)
    (own,) = job.objective.arch_parameters
    with torch.no_grad():
        for alpha in job.alphas.values():
            alpha.zero_()
            alpha[:, 4] = torch.tensor([0.0, 0.0, 0.1, 0.2, 0.3])  # edges 2, 3, 4 end in the last node
    assert [src for _, src in job.genotype["normal"].nodes[1]] == [1, 2]
    with torch.no_grad():
        own["normal"].copy_(torch.tensor([0.0, 0.0, 1.0, 0.0, 0.5]))
    assert [src for _, src in job.genotype["normal"].nodes[1]] == [0, 2]
    assert [src for _, src in job.genotype["reduce"].nodes[1]] == [1, 2]


@pytest.mark.parametrize("estimator", list(members("estimator")))
def test_the_parameters_are_learned_with_alpha(estimator: str) -> None:
    job = search(estimator=estimator)
    (own,) = job.objective.arch_parameters
    job.supernet.train()
    job.architect.gradient(Step(job.objective, *next(job.loop.batches())))
    for name, value in own.items():
        assert value.grad is not None
        assert bool(value.grad.any())
        # a shift of all edges that end in one node changes nothing
        for dst in {edge.dst for edge in job.space.cells[name].edges}:
            assert abs(float(value.grad[job.space.cells[name].incoming(dst)].sum())) < 1e-9
    before = [value.detach().clone() for value in own.values()]
    job.architect.step()
    assert all(not torch.equal(value, old) for value, old in zip(own.values(), before, strict=True))


def test_initial_values_of_the_parameters() -> None:
    values = torch.cat([value.detach() for value in search("robust_s3").objective.arch_parameters[0].values()])
    assert 5e-4 < float(values.std()) < 2e-3
    wide = torch.cat([value.detach() for value in search("robust_s3", init=1.0).objective.arch_parameters[0].values()])
    torch.testing.assert_close(wide, 1e3 * values, rtol=1e-12, atol=0)
    assert len(values.unique()) == 28


def test_disabled_has_no_parameters() -> None:
    job = search(enabled=False)
    assert job.objective.arch_parameters == ({},)
    assert len(job.objective.alphas) == 2
    for name, weights in job.model.arch_weights().items():
        assert torch.equal(weights, job.alphas[name].detach().softmax(-1))
