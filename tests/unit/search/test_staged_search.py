"""A whole search in stages: what changes between them, what goes on, and resuming in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, load_splits
from raydarts.evaluation.settings import NetworkSettings
from raydarts.registry import Choose
from raydarts.search.moments import Moment
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")

STAGED = {
    "name": "progressive", "shares": [1, 2, 1], "layers": [3, 4, 5], "candidates": [None, 4, 2],
}  # fmt: skip
SMALL = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}


class Witness(Regularizer):
    """Notes alpha and the further architecture parameters as each epoch begins."""

    NAME = "witness"

    def attach(self, space: Any, objective: Any) -> None:
        self.objective = objective
        self.seen = getattr(self, "seen", [])

    def on_epoch_start(self, now: Moment) -> None:
        self.seen.append([value.detach().clone() for value in self.objective.alphas])


WITNESS = {"name": f"{__name__}:Witness"}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(DataSettings(limit=64))


def search(splits: Splits, *regularizers: Any, **changes: Any) -> Search:
    plain = {
        "epochs": 4, "batch_size": 16, "lr": 0.1, "lr_min": 0.02, "arch_lr": 0.1, "precision": "float64",
        "space": SMALL, "estimator": "first_order", "regularizers": list(regularizers), **changes,
    }  # fmt: skip
    return Search(SearchSettings.model_validate(plain), splits)


def flat(values: Any) -> dict[str, Any]:
    """A nested state as a flat one."""
    if isinstance(values, dict | list | tuple):
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return {f"{key}.{name}": leaf for key, value in pairs for name, leaf in flat(value).items()}
    return {"": values}


def same(one: Any, other: Any) -> list[str]:
    """Where two nested states differ; measured figures left out."""
    left, right = flat(one), flat(other)
    assert left.keys() == right.keys()
    return [
        key
        for key, value in left.items()
        if not any(word in key for word in ("seconds", "memory_mb"))
        and not (torch.equal(value, right[key]) if isinstance(value, Tensor) else value == right[key])
    ]


def test_each_stage_has_its_layers_candidates_and_schedule(splits: Splits) -> None:
    job = search(splits, STAGED)
    layers, candidates, lrs, epochs, skips = [], [], [], [], []
    kept: Any = None
    while not job.finished:
        before = job.model
        job.run_epoch()
        layers.append(len(job.supernet.cells))
        candidates.append(job.alphas["normal"].shape[1])
        lrs.append(job.metrics["lr"])
        epochs.append(job.metrics["epoch"])
        skips.append(job.metrics["skips_normal"])
        rows = [row for cell in job.model.space.cells.values() for row in cell.candidates]
        if job.model is not before:
            assert kept is None or all(set(new) < set(old) for new, old in zip(rows, kept, strict=True))
            states = job.weight_optimizer.state_dict()["state"]
            assert len(states) == len(list(job.supernet.parameters()))
        kept = rows
    assert layers == [3, 4, 4, 5]
    assert candidates == [8, 4, 4, 2]
    assert epochs == [1, 2, 3, 4]
    assert lrs == pytest.approx([0.1, 0.1, 0.06, 0.1])  # a cosine from lr to lr_min in each stage
    assert all(isinstance(count, int) for count in skips)
    result = job.result()
    assert result["candidates"] == {name: cell.candidates for name, cell in job.model.space.cells.items()}
    assert torch.tensor(result["alpha"]["normal"]).shape == (2, 2)
    assert len(job.genotypes) == 4
    assert job.space.owns(job.genotype)
    network = job.space.network(
        job.genotype, Classification((1, 8, 8), 10), NetworkSettings(channels=2, layers=3, auxiliary_weight=0)
    )
    assert network(torch.randn(2, 1, 8, 8))[0].shape == (2, 10)


def test_next_stage_keeps_the_strongest_candidates(splits: Splits) -> None:
    job = search(splits, STAGED)
    job.run_epoch()
    alphas = {name: alpha.detach().clone() for name, alpha in job.alphas.items()}
    cells = job.model.space.cells
    job.run_epoch()
    for name, alpha in alphas.items():
        best = alpha.topk(4).indices.sort().values.tolist()
        expected = [tuple(row[i] for i in index) for row, index in zip(cells[name].candidates, best, strict=True)]
        assert list(job.model.space.cells[name].candidates) == expected


def test_alpha_is_kept_or_drawn_again(splits: Splits) -> None:
    ends, starts = {}, {}
    for keep in (True, False):
        job = search(splits, STAGED | {"keep_alpha": keep}, "edge_normalization", WITNESS, alpha_init=0.5)
        job.run_epoch()
        ends[keep] = [value.detach().clone() for value in job.objective.alphas]
        job.run_epoch()
        starts[keep] = job.regularizers[-1].seen[1]
    assert same(ends[True], ends[False]) == []
    for alpha, before in zip(starts[True][:2], ends[True][:2], strict=True):
        assert torch.equal(alpha, before.topk(4).values.gather(1, alpha.argsort(descending=True).argsort()))
    for fresh, kept in zip(starts[False], starts[True], strict=True):
        assert not torch.isin(fresh, kept).any()
    assert 0.2 < torch.cat(starts[False][:2]).std() < 1.0  # alpha_init
    for edges, before in zip(starts[True][2:], ends[True][2:], strict=True):
        assert torch.equal(edges, before)


def test_stages_draw_from_streams_of_their_own(splits: Splits) -> None:
    """How much one stage draws, and when the next begins, has no part in what that begins with."""
    plans = [{"shares": [1, 1, 2]}, {"shares": [2, 1, 1], "candidates": [None, 2, 2]}]
    jobs = [search(splits, STAGED | plan, WITNESS, alpha_init=1.0) for plan in plans]
    for job in jobs:
        while not job.finished:
            job.run_epoch()
    one, other = (job.regularizers[-1].seen for job in jobs)
    assert torch.equal(one[2][0], other[3][0])
    assert not torch.isin(one[2][0], torch.cat([one[0][0], one[1][0]], 1)).any()


@pytest.mark.parametrize("keep", [True, False])
def test_a_checkpoint_in_each_stage_resumes_to_the_last_bit(splits: Splits, keep: bool, tmp_path: Path) -> None:
    def made() -> Search:
        return search(
            splits,
            STAGED | {"keep_alpha": keep, "shares": [1, 2, 2]},
            {"name": "partial_channels", "k": [2, 1, 2]},
            "edge_normalization",
            "auxiliary_skip",
            {"name": "skip_dropout", "rate": [0.5, 0.3, 0.2], "warmup_epochs": 0},
            selection="skip_limit",
            epochs=5,
        )

    whole = made()
    for epoch in range(5):
        torch.save(whole.state_dict(), tmp_path / f"{epoch}.pt")
        whole.run_epoch()
    for epoch in range(5):
        fresh = made()
        fresh.load_state_dict(torch.load(tmp_path / f"{epoch}.pt", weights_only=True))
        assert (fresh.epoch, fresh.model.stage) == (epoch, [0, 0, 1, 1, 2][epoch])
        while not fresh.finished:
            fresh.run_epoch()
        assert same(fresh.state_dict(), whole.state_dict()) == []
        assert same(fresh.result(), whole.result()) == []
        shared = [cell.share for cell in fresh.supernet.cells]
        assert shared == [1, 2, 2, 4, 4]


@pytest.mark.parametrize("name", ["robust_s1", "robust_s2", "robust_s3", "robust_s4"])
def test_the_robust_spaces_narrow_to_a_single_candidate(splits: Splits, name: str) -> None:
    plan = {"name": "progressive", "shares": [1, 1], "layers": None, "candidates": [None, 1]}
    job = search(splits, plan, epochs=2, batch_size=28, space={"name": name, "channels": 2, "layers": 3})
    job.run_epoch()
    chosen = job.model.arch_weights()
    cells = job.model.space.cells
    job.run_epoch()
    assert {alpha.shape for alpha in job.alphas.values()} == {(14, 1)}
    assert job.space.owns(job.genotype)
    for cell_type, cell in job.model.space.cells.items():
        for weights, old, (new,) in zip(chosen[cell_type], cells[cell_type].candidates, cell.candidates, strict=True):
            rest = [float(weight) for weight, primitive in zip(weights, old, strict=True) if primitive != "none"]
            assert float(weights[old.index(new)]) == max(rest)


def test_nasbench201_narrows_without_layers(splits: Splits) -> None:
    plan = {"name": "progressive", "shares": [1, 1], "layers": None, "candidates": [None, 2], "keep_alpha": True}
    space = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
    job = search(splits, plan, "edge_normalization", epochs=2, space=space)
    while not job.finished:
        job.run_epoch()
    assert job.alphas["cell"].shape == (6, 2)
    assert len(list(job.genotype["cell"].edges())) == 6
    picked = Choose("selection").parse("skip_limit").build()(job.model.space, job.model.arch_weights())
    assert job.space.owns(picked)
