"""Signals of a search: what they measure, and that measuring changes nothing of the search."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, load_splits
from raydarts.genotype_facts import network_cost
from raydarts.genotypes.facts import FACTS, cell_facts
from raydarts.registry import Choose, members
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = list(members("probe"))
SPACE = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
SHORT = {"name": "short_retrain", "epochs": 1, "channels": 2, "layers": 3}
RATIO = {"name": "eigenvalue_ratio", "every": 1, "window": 1, "lag": 1}
UPDATING = {"name": "published_defects", "statistics_updated": True}  # the probe must put the statistics back
TRUTH = {"name": "estimator_truth", "every": 1, "steps": 2, "batches": 2, "estimators": [UPDATING]}
CHANGED: dict[str, Any] = {"short_retrain": SHORT, "eigenvalue_ratio": RATIO, "estimator_truth": TRUTH}
TIMES = ("seconds", "memory_mb", "search_seconds")


@pytest.fixture(scope="module")
def images() -> AnySplits:
    return load_splits(DataSettings.model_validate({"dataset": "digits", "limit": 60, "validation_fraction": 0.25}))


def search(splits: AnySplits, probes: list[Any], **settings: Any) -> Search:
    plain = {"epochs": 2, "batch_size": 12, "arch_lr": 0.05, "space": SPACE, "augment": {"flip": True}, **settings}
    plain["probes"] = [Choose("probe").parse(each) for each in probes]
    return Search(SearchSettings.model_validate(plain), splits)


def probes() -> list[Any]:
    return [CHANGED.get(name, name) for name in ALL]


def rows(job: Search) -> list[dict[str, Any]]:
    made = []
    while not job.finished:
        made.append(job.run_epoch())
    return made


RANDOM = {
    "relaxation": Choose("relaxation").parse("gumbel"),
    "regularizers": (Choose("regularizer").parse("drop_path"),),
}


@pytest.mark.parametrize("more", [{}, RANDOM], ids=["plain", "random"])
def test_all_signals_together_change_no_number_of_a_search(images: AnySplits, more: dict[str, Any]) -> None:
    bare, measured = search(images, [], **more), search(images, probes(), **more)
    then, now = rows(bare), rows(measured)
    for one, other in zip(then, now, strict=True):
        assert {key: other[key] for key in one if key not in TIMES} == {
            key: value for key, value in one.items() if key not in TIMES
        }
    for one, other in zip(bare.alphas.values(), measured.alphas.values(), strict=True):
        assert torch.equal(one, other)
    for name, weight in bare.supernet.state_dict().items():
        assert torch.equal(weight, measured.supernet.state_dict()[name])
    mine = bare.state_dict()["streams"]
    assert all(torch.equal(state, measured.state_dict()["streams"][name]) for name, state in mine.items())


def test_every_probe_writes_the_columns_that_it_names_and_goes_on_after_a_resume(images: AnySplits) -> None:
    whole = search(images, probes(), epochs=3)
    expected = rows(whole)
    job = search(images, probes(), epochs=3)
    job.run_epoch()
    again = search(images, probes(), epochs=3)
    again.load_state_dict(job.state_dict())
    for row, wanted in zip(rows(again), expected[1:], strict=True):
        assert {key: row[key] for key in row if key not in TIMES} == {
            key: value for key, value in wanted.items() if key not in TIMES
        }
    for name, probe in members("probe").items():
        for column in getattr(probe, "METRICS", ()):
            value = expected[-1][column.replace("*", "cell")]
            assert isinstance(value, int | float), f"{name}: {column}"
            assert math.isfinite(value)
    last = expected[-1]
    assert {name: last[name] for name in FACTS} == cell_facts(whole.genotype)
    assert (last["parameters"], last["flops"]) == network_cost(whole.space, whole.genotype)
    assert last["eigenvalue_ratio"] == last["eigenvalue"] / expected[-2]["eigenvalue"]
    assert last["train_valid_gap"] == last["validation_loss"] - last["weight_loss"]
    assert last["skips"] == last["skips_cell"]
    assert last["entropy_mean"] == last["entropy_cell"]
    assert last["search_seconds"] > expected[0]["search_seconds"] > 0
    assert 0 <= last["short_retrain"] <= 1


def test_a_supernet_whose_alpha_has_decided_has_no_discretisation_gap(images: AnySplits) -> None:
    job = search(images, ["discretisation_gap"], epochs=1)
    assert job.run_epoch()["discretisation_gap"] != 0
    with torch.no_grad():
        for alpha in job.alphas.values():
            alpha[torch.arange(len(alpha)), alpha.argmax(-1)] = 1e4
    assert job.measuring.discretisation_gap(job.model, job.genotype) == pytest.approx(0, abs=1e-6)


def test_stability_counts_the_epochs_since_the_genotype_changed(images: AnySplits) -> None:
    job = search(images, ["genotype_stability"], epochs=4, arch_lr=1e-9)
    counted = [row["genotype_stability"] for row in rows(job)]
    ids = [genotype.id for genotype in job.genotypes]
    wanted = [next((n for n in range(1, k + 1) if ids[k - n] != ids[k]), k + 1) for k in range(len(ids))]
    assert counted == wanted


def test_text_has_the_signals_too() -> None:
    text = load_splits(
        DataSettings.model_validate(
            {"dataset": {"name": "pydoc_topics", "vocabulary_size": 100}, "limit": 1500, "alpha_fraction": 0.3}
        )
    )
    names = [each for each in probes() if each not in ("eigenvalue",) and each is not RATIO]
    space = {"name": "darts-rnn", "nodes": 2, "units": 4}
    more: dict[str, Any] = {"epochs": 1, "batch_size": 8, "lr": 5, "text": {"bptt": 10}, "space": space, "augment": {}}
    bare, measured = search(text, [], **more), search(text, names, **more)
    then, now = rows(bare)[0], rows(measured)[0]
    assert all(now[key] == value for key, value in then.items() if key not in TIMES)
    assert now["short_retrain"] < 0, "minus the loss"
    assert now["parameter_free_share"] == 0
    assert isinstance(now["discretisation_gap"], float)
