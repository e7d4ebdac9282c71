"""The statistics behind the report's sentences: intervals, permutation tests within blocks, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from raydarts.report.limits import Limits

Array = npt.NDArray[np.float64]
ALPHA = 0.05
DRAWS = 4999
"""Permutations of a test; the smallest possible p is 1 / (DRAWS + 1)."""
_SEED = 20190625  # seed of the permutations, so that the same run gives the same p
_CHUNK = 2_000_000  # numbers held at a time


@dataclass(frozen=True)
class Mean:
    """A mean with its sample standard deviation, n, and Student's 95 % interval (None if n is 1).

    The interval is cut at what is possible (`report/limits.py`).
    """

    value: float
    std: float | None
    n: int
    low: float | None
    high: float | None


def mean_of(values: Sequence[float], limits: Limits) -> Mean | None:
    """Returns the mean of the values, or None if there are none. `limits`: between which its interval stays."""
    from scipy import stats  # noqa: PLC0415 - takes a second to import

    if not values:
        return None
    if len(values) == 1:
        return Mean(values[0], None, 1, None, None)
    middle, spread = fmean(values), stdev(values)
    half = float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1)) * spread / math.sqrt(len(values))
    return Mean(middle, spread, len(values), limits.cut(middle - half), limits.cut(middle + half))


@dataclass(frozen=True)
class Difference:
    """The first mean minus the second one, and Welch's (1947) 95 % interval. It is None if either n is 1."""

    value: float
    low: float | None
    high: float | None


def difference_of_means(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Returns the difference of two means of independent values, or None if one has no value."""
    from scipy import stats  # noqa: PLC0415

    if not first or not second:
        return None
    value = fmean(first) - fmean(second)
    if len(first) < 2 or len(second) < 2:
        return Difference(value, None, None)
    parts = [stdev(values) ** 2 / len(values) for values in (first, second)]
    if sum(parts) == 0.0:
        return Difference(value, value, value)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(sum(parts))
    return Difference(value, value - half, value + half)


def proportion(hits: int, n: int) -> tuple[float, float]:
    """Returns Clopper and Pearson's (1934) 95 % interval of a share."""
    from scipy import stats  # noqa: PLC0415

    low = float(stats.beta.ppf(ALPHA / 2, hits, n - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - ALPHA / 2, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def holm(p: Sequence[float]) -> list[float]:
    """Returns Holm's (1979) step-down adjusted p. Rejecting at <= alpha keeps the family-wise error at alpha."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted, running = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = running
    return adjusted


def codes(values: Sequence[object]) -> npt.NDArray[np.int64]:
    """Returns each value's number among the distinct ones, in order of first use."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)


def _within(values: Array, block: npt.NDArray[np.int64]) -> Array:
    """Returns `values` minus their block's mean."""
    sums = np.bincount(block, weights=values)
    return np.asarray(values - (sums / np.bincount(block))[block], dtype=np.float64)


def _permutations(values: Array, block: npt.NDArray[np.int64], draws: int) -> Iterator[Array]:
    """Yields chunks of `values` permuted within blocks, one permutation for each row."""
    rng = np.random.default_rng(_SEED)
    base = np.argsort(block, kind="stable")
    rows = max(1, _CHUNK // len(values))
    for start in range(0, draws, rows):
        keys = rng.random((min(rows, draws - start), len(values))) + block
        permuted = np.empty_like(keys)
        permuted[:, base] = values[np.argsort(keys, axis=1)]
        yield permuted


def _p_value(observed: float, drawn: Sequence[Array]) -> float:
    """Returns (1 + the number of draws that are as large) / (1 + draws).

    It is valid for any number of draws (Phipson and Smyth 2010).
    """
    values = np.concatenate(drawn)
    return float((1 + np.sum(values >= observed - 1e-9 * max(1.0, abs(observed)))) / (1 + len(values)))


def levels_p(level: Sequence[object], y: Sequence[float], block: Sequence[object], draws: int = DRAWS) -> float:
    """Returns p of "the levels do not differ": the sum of squares between levels, with y permuted within blocks.

    It is exact under the null for any distribution of y, if levels were assigned independently of y.
    """
    group, blocks = codes(level), codes(block)
    residual = _within(np.asarray(y, dtype=np.float64), blocks)
    one_hot = np.eye(group.max() + 1)[group]
    count = one_hot.sum(0)

    def between(rows: Array) -> Array:
        return np.asarray(((rows @ one_hot) ** 2 / count).sum(-1), dtype=np.float64)

    drawn = [between(rows) for rows in _permutations(residual, blocks, draws)]
    return _p_value(float(between(residual[None])[0]), drawn)


@dataclass(frozen=True)
class Contrast:
    """`first` minus `second` level's mean of y at equal blocks, with Tukey's simultaneous interval.

    `sd` is the standard deviation of y that neither blocks nor levels explain.
    """

    first: object
    second: object
    difference: float
    low: float
    high: float
    pairs: int
    sd: float
    freedom: int


@lru_cache
def _tukey(levels: int, freedom: int, alpha: float) -> float:
    """Returns how many standard errors Tukey's interval reaches. Of two levels it is Student's. Else it takes long."""
    from scipy import stats  # noqa: PLC0415

    if levels == 2:
        return float(stats.t.ppf(1 - alpha / 2, freedom))
    return float(stats.studentized_range.ppf(1 - alpha, levels, freedom)) / math.sqrt(2)


def largest_contrast(
    level: Sequence[object], y: Sequence[float], block: Sequence[object], limits: Limits, alpha: float = ALPHA
) -> Contrast | None:
    """Returns the two levels that differ most, from y = block + level + noise by least squares.

    The interval is Tukey and Kramer's over all pairs (for two levels Student's), which allows for picking the largest.
    Its level is 1 - `alpha`. It is cut at the differences that the `limits` of y allow. None if blocks leave no degree
    of freedom, or never compare two levels.
    """
    names = list(dict.fromkeys(level))
    group, blocks = codes(level), codes(block)
    design = np.hstack([np.eye(blocks.max() + 1)[blocks], np.eye(len(names))[group][:, 1:]])
    values = np.asarray(y, dtype=np.float64)
    rank = int(np.linalg.matrix_rank(design))
    freedom = len(values) - rank
    if freedom < 1 or rank < design.shape[1]:
        return None
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    variance = float(((values - design @ solution) ** 2).sum()) / freedom
    covariance = np.zeros((len(names), len(names)))
    covariance[1:, 1:] = np.linalg.inv(design.T @ design)[blocks.max() + 1 :, blocks.max() + 1 :] * variance
    effect = np.concatenate([[0.0], solution[blocks.max() + 1 :]])
    top, bottom = int(np.argmax(effect)), int(np.argmin(effect))
    if top == bottom:
        return None
    difference = float(effect[top] - effect[bottom])
    error = math.sqrt(max(0.0, covariance[top, top] + covariance[bottom, bottom] - 2 * covariance[top, bottom]))
    half = error * _tukey(len(names), freedom, alpha)
    pairs = len(names) * (len(names) - 1) // 2
    low, high = (limits.of_differences.cut(difference + side) for side in (-half, half))
    return Contrast(names[top], names[bottom], difference, low, high, pairs, math.sqrt(variance), freedom)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation within blocks, its 95 % interval and the permutation p."""

    value: float
    low: float
    high: float
    p: float
    n: int


def correlation(
    x: Sequence[float], y: Sequence[float], block: Sequence[object], draws: int = DRAWS
) -> Correlation | None:
    """Returns the correlation of the ranks of x and y minus their blocks' means. y is permuted within blocks.

    The interval is Fisher's with Bonett and Wright's (2000) variance (1 + r^2 / 2) / (n - blocks - 2). None if x or y
    does not vary within blocks.
    """
    from scipy import stats  # noqa: PLC0415

    blocks = codes(block)
    first, second = (_within(np.asarray(stats.rankdata(v), dtype=np.float64), blocks) for v in (x, y))
    scale = math.sqrt(float((first**2).sum() * (second**2).sum()))
    freedom = len(first) - int(blocks.max()) - 1 - 2
    if scale < 1e-12 or freedom < 1:
        return None
    value = float(np.clip(first @ second / scale, -1.0, 1.0))
    drawn = [np.abs(rows @ first) / scale for rows in _permutations(second, blocks, draws)]
    middle = math.atanh(min(max(value, -1 + 1e-9), 1 - 1e-9))
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * math.sqrt((1 + value**2 / 2) / freedom)
    return Correlation(value, math.tanh(middle - half), math.tanh(middle + half), _p_value(abs(value), drawn), len(x))


def kendall(x: Sequence[float], y: Sequence[float], draws: int = DRAWS) -> Correlation | None:
    """Returns Kendall's tau-b, its permutation p, and Fieller, Hartley and Pearson's (1957) interval.

    The variance is .437 / (n - 4).
    """
    from scipy import stats  # noqa: PLC0415

    first, second = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(x, float), np.asarray(y, float)))
    scale = math.sqrt(float((first**2).sum() * (second**2).sum()))
    if len(x) < 6 or scale == 0:
        return None
    value = float((first * second).sum() / scale)
    rng = np.random.default_rng(_SEED)
    drawn, rows = [], max(1, _CHUNK // len(x) ** 2)
    for start in range(0, draws, rows):
        order = rng.permuted(np.tile(np.arange(len(x)), (min(rows, draws - start), 1)), axis=1)
        drawn.append(np.abs((second[order[:, :, None], order[:, None, :]] * first).sum((1, 2))) / scale)
    middle = math.atanh(min(max(value, -1 + 1e-9), 1 - 1e-9))
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * math.sqrt(0.437 / (len(x) - 4))
    return Correlation(value, math.tanh(middle - half), math.tanh(middle + half), _p_value(abs(value), drawn), len(x))
