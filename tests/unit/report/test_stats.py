"""The report's statistics against closed forms, scipy and hand-worked cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as reference

from raydarts.report import stats
from raydarts.report.limits import ANY, SHARE


def test_mean_has_students_interval_unless_n_is_1() -> None:
    found = stats.mean_of([0.9, 0.92, 0.97], ANY)
    assert found is not None
    expected = reference.t.interval(0.95, 2, 0.93, reference.sem([0.9, 0.92, 0.97]))
    assert (found.low, found.high) == pytest.approx(expected)
    assert stats.mean_of([0.9], SHARE) == stats.Mean(0.9, None, 1, None, None)
    assert stats.mean_of([], SHARE) is None


def test_holm_matches_hand_computation() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_proportion_is_exact() -> None:
    assert stats.proportion(0, 20)[1] == pytest.approx(1 - 0.025 ** (1 / 20))
    assert stats.proportion(20, 20)[1] == 1.0


def test_the_permutation_p_is_that_of_all_permutations_within_blocks() -> None:
    y, level, block = [1.0, 3.0, 2.5, 7.0, 4.0, 8.0], "abaabb", "ppprrr"
    rows = np.array(y) - np.repeat([np.mean(y[:3]), np.mean(y[3:])], 3)

    def between(values: tuple[float, ...]) -> float:
        groups = [[v for v, name in zip(values, level, strict=True) if name == own] for own in "ab"]
        return sum(sum(group) ** 2 / len(group) for group in groups)

    pairs = itertools.product(itertools.permutations(rows[:3]), itertools.permutations(rows[3:]))
    drawn = [between((*first, *second)) for first, second in pairs]
    exact = np.mean([value >= between(tuple(rows)) - 1e-9 for value in drawn])
    assert stats.levels_p(level, y, block) == pytest.approx(exact, abs=0.03)


def test_two_levels_in_pairs_are_the_paired_t_interval() -> None:
    first, second = [5.0, 6.0, 7.5, 9.0], [4.1, 5.6, 6.2, 8.8]
    level = [name for _ in first for name in ("a", "b")]
    y = [value for pair in zip(first, second, strict=True) for value in pair]
    found = stats.largest_contrast(level, y, [0, 0, 1, 1, 2, 2, 3, 3], ANY)
    low, high = reference.ttest_rel(first, second).confidence_interval()
    assert found is not None
    assert (found.first, found.second, found.low, found.high) == pytest.approx(("a", "b", low, high))


def test_levels_that_no_block_compares_have_no_contrast() -> None:
    assert stats.largest_contrast(["a", "a", "b", "b"], [1, 2, 3, 4], [0, 0, 1, 1], ANY) is None


def test_correlations_equal_scipys_without_blocks() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    y = x + rng.normal(size=12)
    rank, tau = stats.correlation(x, y, [0] * 12), stats.kendall(x, y)
    assert rank is not None
    assert tau is not None
    assert rank.value == pytest.approx(reference.spearmanr(x, y).statistic)
    assert tau.value == pytest.approx(reference.kendalltau(x, y).statistic)
    assert tau.p == pytest.approx(reference.kendalltau(x, y).pvalue, abs=0.01)
    assert rank.low < rank.value < rank.high


def test_blocks_remove_the_seeds_effect() -> None:
    """Within each seed y falls with x; the seeds' own levels make it rise overall."""
    x, y, seed = [1, 2, 3, 4, 5, 6, 7, 8], [4.0, 3.0, 2.0, 1.0, 14.0, 13.0, 12.0, 11.0], [0] * 4 + [1] * 4
    whole, within = stats.correlation(x, y, [0] * 8), stats.correlation(x, y, seed)
    assert whole is not None
    assert within is not None
    assert whole.value > 0.5
    assert within.value == pytest.approx(-1.0)
