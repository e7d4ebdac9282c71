"""Findings, figures and promotion of a run with replicates: what is compared are configurations, not search seeds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from raydarts.report.figures_epochs import curves
from raydarts.report.figures_sweep import effects
from raydarts.report.findings import Finding, findings
from raydarts.report.gather import Run, Searched
from raydarts.report.limits import SHARE
from raydarts.study.configurations import Configuration, configurations
from raydarts.study.objectives import ACCURACY, score_named
from raydarts.study.promotion import promotion, promotion_order
from raydarts.study.results import TrialRecord

SEEDS = (0, 1, 2)
SCORE = score_named("validation_accuracy", "max")
SPEC: dict[str, Any] = {"sweep": {"metric": "validation_accuracy", "mode": "max"}, "score": ACCURACY.to_json()}


def chosen(number: int) -> dict[str, str]:
    return {"search.kind": "a" if number % 2 else "b"}


def searched(configuration: int, seed: int, accuracy: float, status: str = "completed") -> Searched:
    index = len(SEEDS) * configuration + seed
    rows = [{"epoch": 1, "validation_accuracy": accuracy, "skips_normal": 2}]
    skips = round(10 * accuracy) + seed
    choices = chosen(configuration)
    return Searched(
        f"{index:04d}", status, seed, choices, accuracy, skips, {}, None, None, 1, rows, configuration=configuration
    )


def run_of(searches: list[Searched]) -> Run:
    count = len({search.configuration for search in searches})
    return Run(
        {"spec": SPEC},
        searches,
        (),
        configurations=[Configuration(f"{n:04d}", "", {}, (), None, None) for n in range(count)],
    )


@pytest.fixture(scope="module")
def lucky() -> Run:
    """No setting has an effect. Each of eight configurations has its luck, which its search seeds share."""
    luck = [random.Random(f"9/{number}").gauss(0, 0.1) for number in range(8)]
    return run_of(
        [
            searched(number, seed, 0.5 + luck[number] + 0.001 * random.Random(f"{number}/{seed}").gauss(0, 1))
            for number in range(8)
            for seed in SEEDS
        ]
    )


def of_kind(results: list[Finding]) -> Finding:
    return next(each for each in results if each.subject == "search.kind" and "accuracy" in each.outcome)


def test_seeds_of_a_configuration_are_no_evidence_for_its_settings(lucky: Run) -> None:
    finding = of_kind(findings(lucky, 999))
    assert finding.n == 8
    assert "8 configurations" in finding.sentence
    assert not finding.claims
    naive = of_kind(findings(replace(lucky, configurations=()), 999))
    assert naive.n == 24
    assert naive.p < finding.p / 5  # each seed taken for a search of its own makes the same luck look like an effect


def test_an_effect_of_a_setting_is_found_over_configurations() -> None:
    searches = [
        searched(number, seed, 0.5 + 0.2 * (number % 2) + 0.01 * random.Random(f"{number}/{seed}").gauss(0, 1))
        for number in range(12)
        for seed in SEEDS
    ]
    finding = of_kind(findings(run_of(searches), 999))
    assert finding.claims
    assert finding.n == 12
    assert finding.estimate == pytest.approx(0.2, abs=0.02)


def test_a_configuration_counts_with_the_mean_of_its_completed_seeds(lucky: Run) -> None:
    searches = [
        searched(0, 0, 0.2),
        searched(0, 1, 0.4),
        searched(0, 2, 0.9, "failed"),
        *(searched(1, seed, 0.6) for seed in SEEDS),
    ]
    run = run_of(searches)
    units = run.units(lambda search: search.metric)
    assert [(unit.id, unit.seed, value) for unit, value in units] == [
        ("configuration 0000", None, pytest.approx(0.3)),
        ("configuration 0001", None, pytest.approx(0.6)),
    ]


def test_figures_count_configurations(lucky: Run) -> None:
    rows = [row for row in effects(lucky).rows if "accuracy" in row[2]]
    assert [row[5] for row in rows] == ["4", "4"]
    assert "n counts configurations" in effects(lucky).caption
    drawn = curves(lucky, lambda row: row["validation_accuracy"], "accuracy", limits=SHARE)
    assert drawn is not None
    assert [row[5] for row in drawn[1]] == ["4", "4"]


def record(index: int, status: str, accuracy: float | None, epochs: int = 4, **more: Any) -> TrialRecord:
    description: Mapping[str, Any] = {
        "configuration": index // len(SEEDS),
        "replicate": index % len(SEEDS),
        "choices": {"search.lr": index // len(SEEDS)},
        "config": {"seed": index % len(SEEDS)},
    }
    rows = [{"epoch": epoch, "validation_accuracy": accuracy} for epoch in range(1, epochs + 1)]
    result = {"status": status, "genotype_id": f"g{index}", "genotype": {"normal": []}, "skips": {}, **more}
    return TrialRecord(f"{index:04d}", status, description, rows, result)


RECORDS = [
    *(record(index, "completed", score) for index, score in enumerate((0.9, 0.3, 0.3))),  # a lucky seed
    *(record(3 + seed, "completed", score) for seed, score in enumerate((0.6, 0.7, 0.5))),
    record(6, "failed", None, 0),
    record(7, "completed", 0.64),
    record(8, "completed", 0.66),
    *(record(9 + seed, "stopped", 0.95, 2) for seed in SEEDS),
]


def test_configurations_are_means_over_the_seeds_that_came_to_something() -> None:
    found = [
        (each.name, each.status, each.to_json()["n"], each.to_json()["mean"]) for each in configurations(RECORDS, SCORE)
    ]
    assert found == [
        ("0000", "completed", 3, pytest.approx(0.5)),
        ("0001", "completed", 3, pytest.approx(0.6)),
        ("0002", "completed", 2, pytest.approx(0.65)),
        ("0003", "stopped", 3, pytest.approx(0.95)),
    ]


def test_promotion_goes_by_the_configuration_first_and_then_by_the_trial() -> None:
    order = [each.id for each in promotion_order(RECORDS, SCORE)]
    assert order == ["0008", "0007", "0004", "0003", "0005", "0000", "0001", "0002", "0009", "0010", "0011"]
    decisions = promotion(RECORDS, SCORE, top_k=3, max_skips=None)
    assert [each["best_trial"] for each in decisions if each["promoted"]] == ["0008", "0007", "0004"]
    assert decisions[2]["reason"] == (
        "number 3 of top_k 3; of configuration 0001, mean validation_accuracy 0.6000 over 3 search seeds"
    )
    assert (decisions[2]["configuration"], decisions[2]["n"]) == ("0001", 3)


def test_without_replicates_promotion_goes_by_the_trial_alone() -> None:
    plain = [replace(each, description={"config": {}}) for each in RECORDS]
    assert [each.id for each in promotion_order(plain, SCORE)][:3] == ["0000", "0004", "0008"]
    assert configurations(plain, SCORE) == []
    assert "configuration" not in promotion(plain, SCORE, 3, None)[0]


def test_the_mean_of_units_without_replicates_is_the_searches_own(lucky: Run) -> None:
    plain = replace(lucky, configurations=())
    units = plain.units(lambda search: search.metric)
    assert len(units) == 24
    assert fmean(value for _, value in units) == pytest.approx(fmean(search.metric or 0 for search in lucky.searches))
