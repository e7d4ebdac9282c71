"""The improvement over random cells: its figures by hand, its interval, and where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from raydarts.report.improvement import improvements, sentence, sentences
from raydarts.report.stats import difference_of_means
from raydarts.study.objectives import ACCURACY, PERPLEXITY, Score

Cells = Mapping[str, Sequence[float]]


def rows(score: Score, cells: Cells, random_cells: Cells) -> list[dict[str, object]]:
    return [
        {
            "genotype": name,
            "seed": seed,
            "status": "completed",
            score.metric: value,
            score.test: value,
            "random_cell": is_random,
        }
        for is_random, each in ((False, cells), (True, random_cells))
        for name, values in each.items()
        for seed, value in enumerate(values)
    ]


def test_welchs_interval_is_the_textbooks() -> None:
    found = difference_of_means([5.0, 7.0, 9.0], [1.0, 2.0, 3.0, 2.0])
    assert found is not None
    assert found.value == pytest.approx(5.0)
    # variances 4 / 3 and (2 / 3) / 4; degrees of freedom 2.508; t 3.562
    assert found.low == pytest.approx(5.0 - 3.5620 * 1.224745, abs=2e-2)
    assert found.high == pytest.approx(5.0 + 3.5620 * 1.224745, abs=2e-2)
    alone = difference_of_means([1.0], [2.0, 3.0])
    assert alone is not None
    assert (alone.low, alone.high) == (None, None)
    assert difference_of_means([], [1.0]) is None


def test_an_accuracys_improvement_in_points_and_relative() -> None:
    found = improvements(
        rows(ACCURACY, {"a": [0.96, 0.94], "b": [0.93, 0.93]}, {"r": [0.90, 0.92], "s": [0.89]}), ACCURACY
    )
    first = found[0]
    assert (first.part, first.of, first.genotype, first.n, first.random_n) == ("validation", "first", "a", 2, 2)
    assert first.mean == pytest.approx(0.95)
    assert first.random_mean == pytest.approx(0.90)
    assert first.difference == pytest.approx(0.05)
    assert first.relative == pytest.approx(0.05 / 0.90)
    assert found[1].of == "all"
    assert found[1].difference == pytest.approx(0.94 - 0.90)
    assert [each.part for each in found] == ["validation", "validation", "test", "test"]
    for each in found:
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.difference <= each.high
        assert each.random_mean + each.high <= 1.0  # no accuracy above 100 %
        assert each.random_mean + each.low >= 0.0
    text = sentence(first, ACCURACY)
    for words in (
        "+5.00 percentage points",
        "relative +5.56 %",
        "n = 2 evaluation seeds",
        "n = 2 cells",
        "95 % interval",
    ):
        assert words in text


def test_of_a_perplexity_less_is_better() -> None:
    (first, *_) = improvements(rows(PERPLEXITY, {"a": [50.0, 52.0]}, {"r": [100.0, 104.0], "s": [102.0]}), PERPLEXITY)
    assert first.difference == pytest.approx(51.0)
    assert first.relative == pytest.approx(0.5)
    assert "+51.00" in sentence(first, PERPLEXITY)


def test_a_worse_genotype_and_one_seed_are_told_as_they_are() -> None:
    found = improvements(rows(ACCURACY, {"a": [0.90]}, {"r": [0.95]}), ACCURACY)
    assert found[0].difference == pytest.approx(-0.05)
    assert found[0].low is None
    text = " ".join(sentences(found, ACCURACY))
    assert "-5.00 percentage points" in text
    assert "no interval" in text
    assert improvements(rows(ACCURACY, {"a": [0.9]}, {}), ACCURACY) == []
    assert improvements(rows(ACCURACY, {}, {"r": [0.9]}), ACCURACY) == []
