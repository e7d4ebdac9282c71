"""Findings: planted effects get their sentences, null settings none, and noise alone gets none."""

from __future__ import annotations

import random
import re
from statistics import fmean
from typing import Any

import pytest

from raydarts.report.findings import Finding, findings, undecided
from raydarts.report.gather import Retrained, Run, Searched, gather
from tests.synthetic_run import EFFECTS, NOISE, spec, world, write_run

STRENGTH, ESTIMATOR = "search.regularizers.0.strength", "search.estimator"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return gather(write_run(tmp_path_factory.mktemp("runs") / "planted", trials=72, top_k=12, planted=EFFECTS))


@pytest.fixture(scope="module")
def found(planted: Run) -> list[Finding]:
    return findings(planted, draws=1999)


def claim(found: list[Finding], subject: str, outcome: str) -> Finding:
    return next(each for each in found if (each.subject, each.outcome) == (subject, outcome))


def test_planted_effects_get_the_right_sentences(found: list[Finding]) -> None:
    order = claim(found, ESTIMATOR, "skip connections")
    assert order.claims
    assert order.sentence.startswith("estimator: finite_difference has on average")
    assert "fewer skip connections than first_order" in order.sentence
    assert order.low is not None
    assert order.high is not None
    assert order.low < EFFECTS.order < order.high
    strength = claim(found, STRENGTH, "skip connections")
    assert strength.claims
    assert "goes with fewer skip connections" in strength.sentence
    reward = next(each for each in found if each.kind == "reward")
    assert reward.claims
    assert reward.sentence.endswith("the score rewards collapse.")


def test_setting_without_effect_gets_no_claim(found: list[Finding]) -> None:
    null = [each for each in found if each.subject == "search.nothing"]
    assert len(null) >= 2
    assert not any(each.claims for each in null)
    assert any("nothing" in line and "skip connections" in line for line in undecided(found))


def test_sentences_are_recomputable_from_the_runs_numbers(planted: Run, found: list[Finding]) -> None:
    """Equal trials in each block are not given here, so least squares is redone in another way."""
    order = claim(found, ESTIMATOR, "skip connections")
    units = planted.completed
    weights, differences = [], []
    for seed in planted.seeds:
        second, first = (
            [s.skips or 0 for s in units if s.seed == seed and s.choices[ESTIMATOR] == name]
            for name in ("finite_difference", "first_order")
        )
        weights.append(len(first) * len(second) / (len(first) + len(second)))
        differences.append(fmean(first) - fmean(second))
    expected = sum(w * d for w, d in zip(weights, differences, strict=True)) / sum(weights)
    assert order.estimate == pytest.approx(expected)
    shown = re.search(r"on average ([\d.]+) fewer", order.sentence)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(expected, abs=0.005)
    assert f"{len(units)} searches in {len(planted.seeds)} blocks of equal search seed" in order.sentence
    assert order.family == len(found)


def test_misleading_supernet_scores_are_reported(found: list[Finding]) -> None:
    rank = next(each for each in found if each.kind == "rank")
    assert "do not choose by it" in rank.sentence
    assert rank.sentence in undecided(found) or rank.claims


def simulated(seed: int, trials: int = 24) -> Run:
    """A run of noise alone, in memory: nothing depends on any setting, genotypes retrain alike."""
    rng = random.Random(seed)
    searches, retrained = [], []
    for index in range(trials):
        order = rng.choice(["first_order", "finite_difference"])
        choices: dict[str, Any] = {"search.seed": index % 3, ESTIMATOR: order, STRENGTH: rng.random()}
        choices |= {"search.nothing": rng.choice("abc"), "search.lr": rng.random()}
        skips, accuracy = world({**choices, ESTIMATOR: "first_order", STRENGTH: 0.5}, NOISE, rng)
        name = f"g{index}"
        searches.append(
            Searched(f"{index:04d}", "completed", index % 3, choices, accuracy, skips, {"normal": skips}, {}, name, 6)
        )
    for search in searches[:8]:
        for own in (0, 1):
            accuracy = rng.gauss(0.9, 0.01)
            retrained.append(Retrained("", search.genotype_id or "", own, "completed", accuracy, accuracy, None, 1))
    return Run({"spec": spec("")}, searches, retrained)


def test_pure_noise_claims_nothing_at_the_promised_rate() -> None:
    """Family-wise error of 5 % at most: more than 8 of 60 runs would then happen 3 times in 1,000 (binomial).

    Uncorrected, most runs would claim something, so the test can fail.
    """
    runs = [findings(simulated(seed), draws=999) for seed in range(60)]
    wrong = sum(any(each.claims for each in found) for found in runs)
    uncorrected = sum(any(each.p <= 0.05 for each in found) for found in runs)
    assert min(len(found) for found in runs) >= 12
    assert wrong <= 8
    assert uncorrected >= 20


def test_a_run_too_small_for_tests_of_settings_has_none() -> None:
    assert {each.kind for each in findings(simulated(0, trials=5), draws=99)} <= {"genotypes"}
