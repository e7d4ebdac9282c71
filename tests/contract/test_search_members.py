"""Every registered remedy and estimator: neutral equals absent, acts, and resumes, bit for bit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.registry import FAMILIES, members
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype, space_of

ESTIMATORS = list(members("estimator"))
REMEDIES = list(members("regularizer"))
NATIVE = Path(__file__).parents[2].parent / "shared/data/nas"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def search(**changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "arch_lr": 0.05,
        "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 1},
        "estimator": "first_order",
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=72)))


def run(job: Any, epochs: int | None = None) -> Any:
    for _ in range(epochs if epochs is not None else job.epochs - job.epoch):
        job.run_epoch()
    return job


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors anywhere in nested containers included."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        skip = ("seconds", "memory_mb")
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key not in skip)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def learned(job: Search) -> dict[str, Any]:
    state = job.state_dict()
    return {key: state[key] for key in ("supernet", "alpha", "weight_optimizer", "alpha_optimizer")}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_member_says_what_it_is(family: str) -> None:
    for name, member in members(family).items():
        assert name == member.NAME
        assert member.SOURCE
        assert not (member.__doc__ or "Base of").startswith("Base of")


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_remedy_at_neutral_is_absent_to_the_last_bit(remedy: str) -> None:
    neutral = members("regularizer")[remedy].NEUTRAL
    assert neutral is not None
    absent = learned(run(search()))
    assert same(learned(run(search(regularizers=[{"name": remedy, **neutral}]))), absent)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_remedy_acts_under_every_estimator(remedy: str, estimator: str) -> None:
    absent = learned(run(search(estimator=estimator)))
    assert not same(learned(run(search(estimator=estimator, regularizers=[remedy]))), absent)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_search_resumes_to_the_last_bit(estimator: str) -> None:
    settings = {
        "estimator": estimator,
        "epochs": 3,
        "regularizers": REMEDIES,
        "augment": {"crop_padding": 1, "flip": True, "cutout_length": 3},
    }
    whole = run(search(**settings))
    first = run(search(**settings), 1)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = search(**settings)
    second.load_state_dict(torch.load(file, weights_only=True))
    run(second)
    assert same(second.state_dict(), whole.state_dict())
    assert not same(first.state_dict()["alpha"], whole.state_dict()["alpha"])


def test_an_evaluation_resumes_to_the_last_bit() -> None:
    genotype = run(search(), 1).genotype
    settings = EvaluationSettings.model_validate(
        {
            "epochs": 3,
            "batch_size": 16,
            "drop_path": 0.3,
            "network": {"channels": 4, "layers": 3},
            "augment": {"crop_padding": 1, "flip": True, "cutout_length": 3},
        }
    )
    splits = load_splits(DataSettings(limit=72))
    whole = run(Evaluation(settings, genotype, splits, 5))
    first = run(Evaluation(settings, genotype, splits, 5), 1)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = Evaluation(settings, genotype, splits, 5)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert same(run(second).state_dict(), whole.state_dict())
    assert same(second.result(), whole.result())


def test_what_differs_in_xi_epsilon_or_order_ends_with_different_alpha() -> None:
    def alpha(**estimator: Any) -> str:
        return json.dumps(run(search(estimator=estimator)).result()["alpha"])

    finite = {"name": "finite_difference", "xi": 0.5, "epsilon": 0.01}
    assert alpha(**finite) == alpha(**finite)
    others = [{**finite, "xi": 0.1}, {**finite, "epsilon": 1.0}, {"name": "first_order"}]
    assert len({alpha(**finite), *(alpha(**other) for other in others)}) == 4


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_architect_leaves_weights_and_batch_norm_statistics_alone(estimator: str) -> None:
    job = search(estimator=estimator)
    job.supernet.train()
    before = {key: value.clone() for key, value in job.supernet.state_dict().items()}
    weight_batch, alpha_batch = next(job._batches())
    job.architect.gradient(weight_batch, alpha_batch)
    assert same(job.supernet.state_dict(), before)


def test_counts_of_the_papers_networks() -> None:
    space = members("space")["darts-cnn"]
    built = space(space.Settings())
    assert sum(weight.numel() for weight in built.supernet((3, 32, 32), 10).parameters()) == 1_930_618
    assert built.cells["normal"].alpha_shape == (14, 8)


@pytest.mark.skipif(not NATIVE.exists(), reason="the published genotypes are not here")
def test_published_genotypes_count_as_published() -> None:
    entries = json.loads((NATIVE / "published_genotypes.json").read_text())
    entries += json.loads((NATIVE / "sgas_genotypes.json").read_text())
    counted = [(entry, entry.get("params_c36_l20_cifar10") or entry.get("params_exact")) for entry in entries]
    counted = [(entry, count) for entry, count in counted if count]
    assert len(counted) > 15
    for entry, count in counted:
        genotype = Genotype.from_json(entry["genotype"])
        with torch.device("meta"):
            network, _ = space_of(genotype).standard_network(genotype)
        assert sum(weight.numel() for weight in network.parameters()) == count
