"""What every member of a family declares, and what every remedy keeps to, under every estimator."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any

import pytest
import torch
from covering import Pair, covering, guilty
from remedies import (
    ESTIMATORS,
    REGULARIZERS,
    REMEDIES,
    chosen,
    equal,
    finite,
    learned,
    learned_after_a_kill,
    learned_by_epoch,
    run,
    search,
    spec,
)
from torch import Tensor

from raydarts.registry import FAMILIES, Choose, members
from raydarts.search.composition import refusals
from raydarts.search.settings import SearchSettings

KEYS = list(REMEDIES)
MEMBERS = [
    pytest.param(member, id=f"{family}-{name}") for family in FAMILIES for name, member in members(family).items()
]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "quick_eigenvalue")]


def refused(estimator: str, changes: dict[str, Any]) -> list[Any]:
    return refusals(
        SearchSettings.model_validate(
            {
                "epochs": 2,
                "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 1},
                "estimator": estimator,
            }
            | changes
        )
    )


@cache
def without(estimator: str, companions: str = "") -> list[dict[str, Tensor]]:
    """What a search learns without the remedy, beside the relaxation that it requires, after each epoch."""
    changes = dict([companions.split(":")]) if companions else {}
    return list(learned_by_epoch(search(estimator, changes)))


def companion(key: str) -> str:
    """The relaxation that a remedy requires, as `relaxation:name`, or nothing."""
    found = [requirement.split("|")[0] for requirement in REMEDIES[key].REQUIRES]
    return found[0] if found else ""


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_declares_itself(member: Any) -> None:
    assert member.NAME
    assert member.SOURCE
    assert (vars(member).get("__doc__") or "").strip()
    if member.REMEDY:
        assert member.FORMULA
    required = [name for name, field in member.Settings.model_fields.items() if field.is_required()]
    if required:
        with pytest.raises(ValueError, match=required[0]):
            member.Settings()
    else:
        assert member.Settings() == member.Settings(**member.Settings().model_dump())


@pytest.mark.parametrize("key", REGULARIZERS)
def test_neutral_is_declared_of_settings_and_not_the_default(key: str) -> None:
    member = REMEDIES[key]
    assert member.NEUTRAL
    assert set(member.NEUTRAL) <= set(member.Settings.model_fields)
    assert member.effective(member.Settings(**member.NEUTRAL)) is None
    assert member.effective(member.Settings()) is not None


def neutral(keys: Sequence[str]) -> dict[str, Any]:
    """Search settings with these remedies, each at its neutral setting."""
    return spec([chosen(key, **(REMEDIES[key].NEUTRAL or {})) for key in keys], keys)


@cache
def neutral_groups() -> list[list[str]]:
    """Each remedy is in one group: of those with the same companion which may stand in one spec."""
    made: list[list[str]] = []
    for key in REGULARIZERS:
        fitting = (
            group
            for group in made
            if companion(group[0]) == companion(key) and not refused("first_order", neutral([*group, key]))
        )
        group = next(fitting, None)
        if group is None:
            made.append([key])
        else:
            group.append(key)
    return made


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("number", range(len(neutral_groups())))
def test_neutral_remedies_equal_no_remedy_bit_for_bit(number: int, estimator: str) -> None:
    """Together they change no bit, so none of them does. Where one does, it is named."""
    group = neutral_groups()[number]
    if any("estimator" in message for _, message in refused(estimator, neutral(group))):
        pytest.skip(f"{companion(group[0])} refuses {estimator}")
    plain = without(estimator, companion(group[0]))[-1]
    if not equal(learned(search(estimator, neutral(group))), plain):
        guilty_ones = [key for key in group if not equal(learned(search(estimator, neutral([key]))), plain)]
        pytest.fail(f"not neutral: {', '.join(guilty_ones) or group}")


def test_every_remedy_is_in_one_neutral_group() -> None:
    assert sorted(key for group in neutral_groups() for key in group) == sorted(REGULARIZERS)
    assert len(neutral_groups()) < len(REGULARIZERS) / 3


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("key", KEYS)
def test_a_remedy_changes_what_is_learned(key: str, estimator: str) -> None:
    changes = spec([chosen(key)], [key])
    if any("estimator" in message for _, message in refused(estimator, changes)):
        pytest.skip(f"refuses {estimator}")
    job = search(estimator, changes)
    for found, plain in zip(learned_by_epoch(job), without(estimator, companion(key)), strict=False):
        assert finite(found)
        if not equal(found, plain):
            return  # it acts: no later epoch is needed
    # One that looks back stops after the second epoch at the earliest: what is learned is the same, and it says so.
    assert job.result()["stopped_early"]


@pytest.mark.parametrize("key", KEYS)
def test_killed_search_with_a_remedy_resumes_bit_identical(key: str) -> None:
    """The state after the first epoch, through a file's bytes, goes on in a new object."""
    changes = spec([chosen(key)], [key])
    whole, second = search("first_order", changes), search("first_order", changes)
    found, again = learned_after_a_kill(whole, second)
    assert finite(found)
    assert equal(found, again)
    assert second.epoch == whole.epoch
    measured = ("seconds", "memory_mb")
    one, other = (
        {name: value for name, value in job.metrics.items() if name not in measured} for job in (whole, second)
    )
    assert one == other


def together(keys: Sequence[str]) -> bool:
    """Whether these may stand in one spec."""
    return not refused("first_order", spec([chosen(key) for key in keys], keys))


def one_of_each(one: str, other: str) -> bool:
    """A trial has several regularizers, but one relaxation and one selection."""
    first, second = (key.partition(":")[0] for key in (one, other))
    return first != second or first == "regularizer"


@cache
def composing() -> list[Pair]:
    pairs = [pair for pair in combinations(KEYS, 2) if one_of_each(*pair)]
    return [Pair(pair) for pair in pairs if together(pair)]


@cache
def groups() -> list[list[str]]:
    return covering(KEYS, composing(), together)


def failure(keys: Sequence[str]) -> str | None:
    """How a search with these remedies goes wrong; None: it does not."""
    try:
        job = run(search("first_order", spec([chosen(key) for key in keys], keys)))
        if not job.result()["genotype"]:
            return "no genotype"
        return None if all(bool(torch.isfinite(alpha).all()) for alpha in job.alphas.values()) else "alpha not finite"
    except Exception as error:  # any is a failure of this composition, told with its pair
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("number", range(len(groups())))
def test_remedies_that_may_be_combined_train_together(number: int) -> None:
    """Each pair meets in one of these searches: see the next test."""
    group = groups()[number]
    error = failure(group)
    assert error is None, f"{', '.join(group)}: {error}; guilty: {guilty(group, failure)}"


def test_any_two_remedies_run_together_or_refuse_each_other_with_a_reason() -> None:
    met = {Pair(pair) for group in groups() for pair in combinations(group, 2)}
    for one, other in combinations(KEYS, 2):
        if not one_of_each(one, other):
            continue
        found = refused("first_order", spec([chosen(one), chosen(other)], [one, other]))
        assert all(len(message) > 30 for _, message in found)  # says why
        assert bool(found) != (Pair((one, other)) in met), (one, other)
    assert len(groups()) < len(composing()) / 6


def test_the_guilty_pair_of_a_group_is_named() -> None:
    def fails(keys: Sequence[str]) -> str | None:
        return "boom" if {"a", "c"} <= set(keys) else None

    assert guilty(["a", "b", "c"], fails) == "a + c: boom"
    assert guilty(["a", "b"], fails) == "no two of a, b by themselves"
    keys, bad = ["a", "b", "c", "d"], Pair("ad")
    every = [Pair(pair) for pair in combinations(keys, 2) if Pair(pair) != bad]
    made = covering(keys, every, lambda group: set(group) != {"a", "b", "c"})
    assert {Pair(pair) for group in made for pair in combinations(group, 2)} == set(every)
    assert not any(set(group) >= {"a", "b", "c"} for group in made)


def test_most_pairs_compose() -> None:
    composing = [
        (one, other)
        for one, other in combinations(REGULARIZERS, 2)
        if not refused("first_order", spec([chosen(one), chosen(other)], [one, other]))
    ]
    assert len(composing) > 0.8 * len(list(combinations(REGULARIZERS, 2)))


@pytest.mark.parametrize("key", REGULARIZERS)
def test_a_remedy_pickles_as_chosen_and_as_built(key: str) -> None:
    component = Choose("regularizer").parse(key.partition(":")[2])
    assert pickle.loads(pickle.dumps(component)) == component
    built = pickle.loads(pickle.dumps(component.build()))
    assert type(built) is REMEDIES[key]
    assert built.settings == component.settings
