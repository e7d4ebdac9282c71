"""What every member of a family declares, and what every remedy keeps to, under every estimator."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.registry import FAMILIES, Choose, members
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

ESTIMATORS = list(members("estimator"))
REMEDIES = list(members("regularizer"))
MEMBERS = [
    pytest.param(member, id=f"{family}-{name}") for family in FAMILIES for name, member in members(family).items()
]


pytestmark = pytest.mark.usefixtures("one_thread")


def search(estimator: str, regularizers: list[Any]) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "arch_lr": 0.05,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 2},
        "estimator": estimator,
        "regularizers": regularizers,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=96)))


def finished(estimator: str, regularizers: list[Any]) -> Search:
    job = search(estimator, regularizers)
    while not job.finished:
        job.run_epoch()
    return job


def learned(estimator: str, regularizers: list[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights (with batch-norm statistics) and alpha after two epochs."""
    job = finished(estimator, regularizers)
    return job.supernet.state_dict(), dict(job.alphas)


def acting(name: str) -> dict[str, Any]:
    """The remedy at its default, or, where that cannot act within two epochs, at the settings it declares for this."""
    return {"name": name, **getattr(members("regularizer")[name], "CONTRACT", {})}


@cache
def without(estimator: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return learned(estimator, [])


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_declares_itself(member: Any) -> None:
    assert member.NAME
    assert member.SOURCE
    assert (vars(member).get("__doc__") or "").strip()
    required = [name for name, field in member.Settings.model_fields.items() if field.is_required()]
    if required:
        with pytest.raises(ValueError, match=required[0]):
            member.Settings()
    else:
        assert member.Settings() == member.Settings(**member.Settings().model_dump())


@pytest.mark.parametrize("name", REMEDIES)
def test_neutral_is_declared_of_settings_and_not_the_default(name: str) -> None:
    member = members("regularizer")[name]
    assert member.NEUTRAL
    assert set(member.NEUTRAL) <= set(member.Settings.model_fields)
    assert member.effective(member.Settings(**member.NEUTRAL)) is None
    assert member.effective(member.Settings()) is not None


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_at_neutral_a_remedy_is_as_absent_to_the_last_bit(estimator: str) -> None:
    weights, alpha = without(estimator)
    assert equal(without.__wrapped__(estimator)[1], alpha)  # the comparison itself is deterministic
    for name in REMEDIES:
        found = learned(estimator, [{"name": name, **members("regularizer")[name].NEUTRAL}])
        assert equal(found[0], weights), name
        assert equal(found[1], alpha), name


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", REMEDIES)
def test_at_its_default_a_remedy_changes_what_is_learned(name: str, estimator: str) -> None:
    job = finished(estimator, [acting(name)])
    weights, alpha = job.supernet.state_dict(), dict(job.alphas)
    same = equal(weights, without(estimator)[0]) and equal(alpha, without(estimator)[1])
    assert not same or job.result()["stopped_early"]  # one that looks back stops after the second epoch at the earliest
    assert all(bool(torch.isfinite(value).all()) for value in [*weights.values(), *alpha.values()])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_remedies_compose(estimator: str) -> None:
    together = learned(estimator, REMEDIES)
    for left_out in REMEDIES:
        fewer = learned(estimator, [name for name in REMEDIES if name != left_out])
        assert not (equal(together[0], fewer[0]) and equal(together[1], fewer[1])), left_out
    assert all(bool(torch.isfinite(value).all()) for part in together for value in part.values())


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedys_state_goes_round(name: str) -> None:
    job = search("first_order", [acting(name)])
    job.run_epoch()
    job.run_epoch()
    fresh = search("first_order", [acting(name)])
    fresh.regularizers[0].load_state_dict(job.regularizers[0].state_dict())
    assert fresh.regularizers[0].state_dict() == job.regularizers[0].state_dict()


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_pickles_as_chosen_and_as_built(name: str) -> None:
    component = Choose("regularizer").parse(name)
    assert pickle.loads(pickle.dumps(component)) == component
    built = pickle.loads(pickle.dumps(component.build()))
    assert type(built) is members("regularizer")[name]
    assert built.settings == component.settings
