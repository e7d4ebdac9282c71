"""The answer to a run's question: planted effects are decided, noise is not, and the number that decides is right."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raydarts.report import figures_cluster
from raydarts.report.answer import ESTIMATOR, Answer, Parts, answer
from raydarts.report.gather import Retrained, Run, Searched
from raydarts.report.limits import SHARE
from raydarts.report.swept import Setting
from raydarts.report.wording import Outcome
from raydarts.study.configurations import Configuration
from tests.commands import run_here
from tests.synthetic_run import EFFECTS, spec, write_run


def a_run(trials: int, effect: float, seed: int, **more: Any) -> Run:
    """A random search: second order adds `effect` standard deviations of 1 point. `nothing` has no effect."""
    rng = random.Random(seed)
    searches = []
    for index in range(trials):
        order = ("first_order", "finite_difference")[index % 2]
        choices = {ESTIMATOR: order, "search.nothing": rng.choice("abc"), "search.rate": rng.random()}
        accuracy = 0.8 + 0.01 * (effect * (index % 2) + rng.gauss(0, 1))
        searches.append(Searched(f"{index:04d}", "completed", 0, choices, accuracy, 2, {}, {}, f"g{index}", 1))
    return Run({"kind": "sweep", "question": "Does it pay?", "spec": spec("Does it pay?")}, searches, (), **more)


def known(run: Run) -> Answer:
    answered = answer(run)
    assert answered is not None
    return answered


def test_a_planted_effect_is_decided_with_effect_interval_and_n() -> None:
    answered = known(a_run(60, 2.0, 0))
    (compared,) = answered.compared
    assert (compared.better, compared.worse) == ("finite_difference", "first_order")
    assert compared.decided
    assert compared.low is not None
    assert compared.high is not None
    assert 0 < compared.low < 0.02 < compared.high
    assert dict(compared.n) == {"first_order": 30, "finite_difference": 30}
    assert "finite_difference is better than first_order by" in answered.words[0]
    assert "n = 30 and 30 searches" in answered.words[0]


def test_an_undecided_answer_names_the_number_that_would_decide() -> None:
    answered = known(a_run(8, 0.5, 1))
    (compared,) = answered.compared
    assert not compared.decided
    assert compared.needed == 64  # two-sided t-test, d = .5, power .8: 64 of each
    assert f"{compared.needed} searches of each would show half a standard deviation" in answered.words[0]


def test_the_named_number_decides_in_about_80_percent_of_simulated_sweeps() -> None:
    outcome, setting = Outcome("accuracy", True), Setting("search.x", "x", ("a", "b"))
    needed = Parts(setting, outcome, "searches", {}, 0.95, 1).needed(1.0)
    assert needed == 17  # as tables of the t-test say
    decided = sum(known(a_run(2 * needed, 1.0, seed)).compared[0].decided for seed in range(60))
    assert 0.65 <= decided / 60 <= 0.95


def test_noise_is_decided_in_at_most_5_percent_whatever_was_swept() -> None:
    """Without the estimator all settings are asked about. Of 60 runs 3 are expected; 9 or more have p < .005."""
    wrong = 0
    for seed in range(60):
        run = a_run(24, 0.0, seed)
        others = [
            replace(each, choices={name: value for name, value in each.choices.items() if name != ESTIMATOR})
            for each in run.searches
        ]
        compared = known(replace(run, searches=others)).compared
        assert len(compared) == 2
        wrong += any(each.decided for each in compared)
    assert wrong <= 8


def test_the_estimator_comes_first_and_retrained_scores_are_answered_too() -> None:
    run = a_run(24, 1.0, 3)
    retrained = [
        Retrained(f"g{index}-seed0", f"g{index}", 0, "completed", 0.9 + 0.01 * (index % 2), None, None, 1)
        for index in range(6)
    ]
    answered = known(replace(run, retrainings=retrained))
    assert [each.outcome for each in answered.compared] == [
        "supernet validation accuracy",
        "retrained validation accuracy",
    ]
    assert all(each.setting == ESTIMATOR for each in answered.compared)
    assert "Intervals are of 95 % for all 2 comparisons at once." in answered.words


def test_a_range_is_compared_by_halves_or_against_its_least_value_if_most_have_it() -> None:
    run = a_run(24, 0.0, 0)
    rates = [0.0] * 13 + [0.1 * index for index in range(1, 12)]
    searches = [
        replace(each, choices={"search.rate": rate}, metric=0.8 + 0.1 * (rate > 0) + 0.001 * index)
        for index, (each, rate) in enumerate(zip(run.searches, rates, strict=True))
    ]
    (compared,) = known(replace(run, searches=searches)).compared
    assert (compared.better, compared.worse) == ("0.1 or more", "below 0.1")
    assert dict(compared.n) == {"below 0.1": 13, "0.1 or more": 11}
    assert compared.decided


def test_seeds_of_few_configurations_answer_for_these() -> None:
    """One configuration of each value, as the first shipped sweep has it, leaves nothing but its search seeds."""
    run = a_run(16, 8.0, 2)
    searches = [replace(each, seed=index // 2, configuration=index % 2) for index, each in enumerate(run.searches)]
    both = [Configuration(f"{number:04d}", "completed", {}, (), None, None) for number in (0, 1)]
    answered = known(replace(run, searches=searches, configurations=both))
    (compared,) = answered.compared
    assert (compared.of, dict(compared.n)) == ("search seeds", {"first_order": 8, "finite_difference": 8})
    assert (compared.better, compared.decided) == ("finite_difference", True)
    assert any("about these alone" in line for line in answered.words)
    many = [replace(each, configuration=index) for index, each in enumerate(searches)]
    (compared,) = known(replace(run, searches=many, configurations=both)).compared
    assert (compared.of, compared.decided) == ("configurations", True)


def test_lower_is_better_where_the_score_says_so() -> None:
    run = a_run(40, 3.0, 4)
    description = {**run.description, "spec": {**run.spec, "sweep": {"metric": "validation_loss", "mode": "min"}}}
    (compared,) = known(replace(run, description=description)).compared
    assert (compared.better, compared.decided) == ("first_order", True)


def test_few_equal_or_no_values_are_told() -> None:
    (compared,) = known(a_run(2, 0.0, 0)).compared
    assert (compared.effect, compared.decided, compared.needed) == (None, False, 64)
    run = a_run(6, 0.0, 0)
    equal = replace(run, searches=[replace(each, metric=0.5) for each in run.searches])
    assert "all measured the same" in known(equal).words[0]
    alone = replace(run, searches=[replace(each, choices={"search.seed": 1}) for each in run.searches])
    assert known(alone).compared == ()
    assert "No setting was swept" in known(alone).words[0]
    assert "95 % interval" in known(alone).words[0]
    assert answer(replace(run, searches=())) is None
    assert answer(replace(run, description={**run.description, "kind": "search"})) is None
    assert SHARE.of_differences.cut(2.0) == 1.0


def test_the_report_begins_with_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_cluster, "_DRAWN", 1)  # a drawing takes a second
    path = write_run(tmp_path / "asked", trials=16, top_k=4, planted=EFFECTS, question="Does second order pay?")
    lines = run_here("report", path).out.splitlines()
    assert lines[0].split() == ["question", *["Does", "second", "order", "pay?"]]
    assert lines[1].split()[:2] == ["answer", "estimator:"]
    report = json.loads(run_here("report", path, "--json").out)["answer"]
    assert report["question"] == "Does second order pay?"
    assert {"effect", "low", "high", "n", "decided", "needed"} <= report["compared"][0].keys()
    assert run_here("report", path, "--html").code == 0
    page = (path / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert page.index("Does second order pay?") < page.index(report["words"][0]) < page.index('id="findings"')
