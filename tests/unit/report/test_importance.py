"""Importance: what is planted comes first, conditional settings are counted where they exist, few trials give none."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from raydarts.report.gather import Run, Searched
from raydarts.report.importance import FEWEST, MOST, importances, reasons
from tests.synthetic_run import spec

XI = "search.estimator[finite_difference].xi"


def planted(trials: int) -> Run:
    """Under second order the score rises with xi; `nothing` does nothing; second order is better throughout."""
    rng, searches = random.Random(0), []
    for index in range(trials):
        choices: dict[str, Any] = {"search.nothing": rng.choice("ab"), "search.estimator": "first_order"}
        score = 0.5 + rng.gauss(0, 0.01)
        if rng.random() < 0.6:
            xi = 10 ** rng.uniform(-3, -1)
            choices |= {"search.estimator": "finite_difference", XI: xi}
            score += 0.1 + 2 * xi
        searches.append(Searched(f"{index}", "completed", index % 2, choices, score, 3, {"normal": 3}, None, None, 1))
    return Run({"spec": spec("")}, searches, ())


def test_the_planted_settings_lead_and_conditional_ones_count_where_they_exist() -> None:
    run = planted(60)
    found = {each.name: each for each in importances(run, "metric")}
    xi, nothing = found[XI], found["search.nothing"]
    assert xi.n == sum(XI in search.choices for search in run.completed) < 60
    assert xi.ped > 3 * nothing.ped
    assert xi.fanova is not None
    assert nothing.fanova is not None
    assert xi.fanova > 0.8
    assert found["search.estimator"].fanova is not None
    assert found["search.estimator"].fanova > 10 * nothing.fanova
    assert found["search.seed"].label == "search seed (luck)"


def test_skips_that_never_differ_and_few_trials_have_no_importance() -> None:
    assert importances(planted(60), "skips") == []
    few = planted(FEWEST - 1)
    assert importances(few, "metric") == []
    assert str(FEWEST) in reasons(few)


def test_a_choice_of_many_options_and_many_seeds_take_no_time() -> None:
    """fANOVA goes through all sets of a choice's options: with 28 of them a report did not end."""
    rng, searches = random.Random(0), []
    for index in range(112):
        choices: dict[str, Any] = {"search.remedy": f"r{index % 28}", "search.xi": rng.uniform(0, 1)}
        searches.append(
            Searched(f"{index}", "completed", index, choices, rng.gauss(0.5, 0.1), 3, {"normal": 3}, None, None, 1)
        )
    found = {each.name: each for each in importances(Run({"spec": spec("")}, searches, ()), "metric")}
    assert found["search.remedy"].ped > 0
    assert {each.fanova for each in found.values()} == {None}
    few = [
        replace(each, choices={**each.choices, "search.remedy": f"r{index % MOST}"})
        for index, each in enumerate(searches)
    ]
    found = {each.name: each for each in importances(Run({"spec": spec("")}, few, ()), "metric")}
    assert all(each.fanova is not None for each in found.values())
    assert found["search.seed"].fanova is not None
