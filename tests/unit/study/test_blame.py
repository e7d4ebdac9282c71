"""Which setting a failed trial is said to stand out by."""

from __future__ import annotations

from raydarts.study.blame import Ended, blame
from raydarts.study.settings_words import label, labelled


def ended(*pairs: tuple[object, bool], name: str = "lr") -> list[Ended]:
    return [Ended({name: value}, failed) for value, failed in pairs]


def test_the_largest_values_that_all_failed_are_blamed() -> None:
    trials = ended(*((0.1 * number, number > 9) for number in range(1, 13)))
    assert blame({"lr": 0.1 * 12}, trials) == "lr 1.2 is the largest of 12 trials, of which the 3 largest failed"
    assert blame({"lr": 0.1 * 11}, trials) == "lr 1.1 is among the largest of 12 trials, of which the 3 largest failed"


def test_the_smallest_are_too() -> None:
    trials = ended(*((number, number < 4) for number in range(1, 13)))
    assert blame({"lr": 1}, trials) == "lr 1 is the smallest of 12 trials, of which the 3 smallest failed"


def test_nothing_is_blamed_where_nothing_stands_out() -> None:
    assert blame({"lr": 0.3}, ended((0.1, False), (0.2, False), (0.3, True))) is None, "one of three is chance"
    assert blame({"lr": 5}, ended(*((number, number % 2 == 1) for number in range(1, 13)))) is None
    assert blame({"lr": 5}, ended(*((number, True) for number in range(1, 13)))) is None, "all failed"
    assert blame({"lr": 5}, ended(*((5, True),) * 3, *((5, False),) * 9)) is None, "all have the same value"
    assert blame({}, []) is None


def test_equal_values_of_which_one_did_not_fail_are_not_blamed() -> None:
    trials = ended(*((1, False),) * 9, (8, True), (8, True), (8, False))
    assert blame({"lr": 8}, trials) is None


def test_an_option_of_which_all_trials_failed_is_blamed() -> None:
    trials = ended(*(("second", True),) * 4, *(("first", False),) * 8, name="estimator")
    words = "all 4 trials with estimator second failed, and 0 of the 8 others"
    assert blame({"estimator": "second"}, trials) == words


def test_of_several_settings_the_least_likely_one_is_named() -> None:
    trials = [Ended({"lr": number, "xi": number % 3}, number > 8) for number in range(1, 13)]
    told = blame({"lr": 12, "xi": 0}, trials)
    assert told is not None
    assert told.startswith("lr 12 is the largest of 12 trials")


def test_labels_are_what_people_say() -> None:
    config = {"regularizers": [{"name": "beta_decay", "strength": 3}], "estimator": {"name": "x"}}
    assert label("search.regularizers.0.strength", config) == "beta_decay.strength"
    assert label("search.regularizers[beta_decay].0.strength", config) == "beta_decay.strength"
    assert label("search.estimator[finite_difference].xi", config) == "xi"
    assert label("search.lr", {}) == "lr"
    assert labelled({"search.a.x": 1, "search.b.x": 2}, {}) == {"search.a.x": 1, "search.b.x": 2}
