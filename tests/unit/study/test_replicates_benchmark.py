"""A lucky seed and a planted effect: TPE with search seeds as replicates, and with the seed as a parameter."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.scripts import script


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return script("benchmarks/replicates.py")


@pytest.mark.parametrize("scheduler", ["fifo", "asha"])
def test_a_lucky_seed_gets_its_fair_share_with_replicates(bench: ModuleType, scheduler: str) -> None:
    parameter, *_, replicates = bench.WAYS
    tuned = bench.lucky(parameter, 4, 40, scheduler)
    assert tuned["share_of_trials"][0] > 0.3
    fair = bench.lucky(replicates, 4, 40, scheduler)
    assert fair["share_of_trials"] == pytest.approx((0.2, 0.2, 0.2))
    assert fair["share_of_epochs"] == pytest.approx((0.2, 0.2, 0.2))


def test_tpe_with_replicates_finds_a_planted_effect_with_fewer_trials(bench: ModuleType) -> None:
    parameter, replicates, _ = bench.WAYS
    one = bench.planted(parameter, 14, 60, "choices", 1.5)
    other = bench.planted(replicates, 14, 60, "choices", 1.5)
    assert other["right_at_the_end"][0] >= bench.ENOUGH
    assert other["trials_until_right"][0] < one["trials_until_right"][0]
    assert other["trials_until_most_are_right"] < one["trials_until_most_are_right"]


def test_answers_and_when_they_stay_right(bench: ModuleType) -> None:
    def search(configuration: int, decay: float, value: float) -> object:
        return bench.Searched(configuration, {"weight_decay": decay}, 8, value)

    right, wrong = bench.PLANTED, bench.DECAYS[0]
    searched = [search(0, wrong, 0.5), search(0, wrong, 0.5), search(1, right, 0.9), search(1, right, 0.3)]
    assert bench.right(searched, 1) == [False, False, True, True]
    assert bench.right(searched, 2) == [False, False, False, True]
    assert bench.stays([True, False, True, True]) == 3
    assert bench.stays([True, False]) == 3
