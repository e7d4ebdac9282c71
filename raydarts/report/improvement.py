"""By how much the retrained genotypes are better than random cells of the same space, training and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import cast

from raydarts.report import stats
from raydarts.report.wording import percent, score_text, score_with_unit
from raydarts.study.bars import figure
from raydarts.study.objectives import Score
from raydarts.study.random_cells import is_random, only_random
from raydarts.study.ranking import random_ranking, ranking

FIRST, ALL = "first", "all"
PARTS = ("validation", "test")
_LEAST_PERPLEXITY = 1.0


@dataclass(frozen=True)
class Improvement:
    """The difference of two means. A positive number says that the genotypes are better than random cells.

    - `part`: of the data: `validation` or `test`.
    - `of`: `first`: the genotype that is first in the ranking. `all`: all retrained genotypes without the random cells.
    - `mean`, `n`: of `first` over evaluation seeds. Of `all` over genotypes, each with its mean over seeds.
    - `random_mean`, `random_n`: over random cells, each with its mean over seeds.
    - `difference`: in the score's own unit. `relative`: that divided by `random_mean` (Yang et al. 2020, arXiv
      1912.12522). `low` and `high`: Welch's 95 % interval, cut to what the score can be. None: one of the two n is 1.
    """

    part: str
    of: str
    genotype: str | None
    mean: float
    n: int
    random_mean: float
    random_n: int
    difference: float
    low: float | None
    high: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None

    @property
    def is_told_from_noise(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def improvements(rows: Sequence[Mapping[str, object]], score: Score) -> list[Improvement]:
    """Returns what can be compared. `rows` are the `evaluation_rows` of one stage."""
    completed = [row for row in rows if row["status"] == "completed"]
    results = []
    for part, column in zip(PARTS, (score.metric, score.test), strict=True):
        scores: dict[str, list[float]] = {}
        for row in completed:
            if (value := figure(row[column])) is not None:
                scores.setdefault(str(row["genotype"]), []).append(value)
        cells = {str(row["genotype"]) for row in completed if is_random(row)}
        random_means = [fmean(values) for name, values in scores.items() if name in cells]
        means = [fmean(values) for name, values in scores.items() if name not in cells]
        first = next((str(row["genotype"]) for row in ranking(completed, score) if row["genotype"] in scores), None)
        known = [(FIRST, first, scores[first])] if first is not None else []
        for of, name, values in [*known, (ALL, None, means)]:
            if (compared := _compared(score, part, of, name, values, random_means)) is not None:
                results.append(compared)
    return results


def _compared(
    score: Score, part: str, of: str, name: str | None, values: Sequence[float], random_means: Sequence[float]
) -> Improvement | None:
    difference = stats.difference_of_means(
        [score.sign * value for value in values], [score.sign * value for value in random_means]
    )
    if difference is None:
        return None
    middle = fmean(random_means)
    low, high = _possible(score, middle, difference.low, difference.high)
    numbers = [difference.value, low, high]
    relative = [None if value is None or middle <= 0 else value / middle for value in numbers]
    return Improvement(part, of, name, fmean(values), len(values), middle, len(random_means), *numbers, *relative)  # type: ignore[arg-type]


def _possible(score: Score, middle: float, low: float | None, high: float | None) -> tuple[float | None, float | None]:
    """Cuts an interval so that no accuracy in it is below 0 or above 1, and no perplexity below 1."""
    if low is None or high is None:
        return None, None
    if score.share:
        return max(low, -middle), min(high, 1 - middle)
    if score.measure == "perplexity":
        return low, min(high, middle - _LEAST_PERPLEXITY)
    return low, high


def baseline_json(rows: Sequence[Mapping[str, object]], score: Score) -> dict[str, object] | None:
    """Returns the random cells of a stage and the improvement over them, or None if it has none."""
    cells = only_random(rows)
    if not cells:
        return None
    return {
        "ranking": random_ranking(rows, score),
        "improvement": [asdict(each) for each in improvements(rows, score)],
        "retrainings": len(cells),
        "completed": sum(row["status"] == "completed" for row in cells),
    }


def from_json(value: Mapping[str, object]) -> Improvement:
    return Improvement(**cast(dict[str, object], dict(value)))  # type: ignore[arg-type]


def sentence(each: Improvement, score: Score) -> str:
    """Returns an improvement in words, with its interval and both n."""
    means = f"mean {score_with_unit(score, each.mean)}"
    if each.of == FIRST:
        subject = (
            f"the first of the ranking ({each.genotype}, {means}, n = {each.n} {_many(each.n, 'evaluation seed')})"
        )
    else:
        subject = f"the retrained genotypes together ({means}, n = {each.n} {_many(each.n, 'genotype')})"
    random_mean = score_with_unit(score, each.random_mean)
    against = f"random healthy cells (mean {random_mean}, n = {each.random_n} {_many(each.random_n, 'cell')})"
    unit = " percentage points" if score.share else ""
    relative = "" if each.relative is None else f", relative {_signed(percent(each.relative))} %"
    if each.low is None or each.high is None:
        interval = "no interval, because a mean with n = 1 has no known spread"
    else:
        ends = f"{_signed(score_text(score, each.low))} to {_signed(score_text(score, each.high))}"
        interval = f"95 % interval {ends}{unit}"
        if each.relative_low is not None and each.relative_high is not None:
            interval += f", relative {_signed(percent(each.relative_low))} to {_signed(percent(each.relative_high))} %"
        interval += "" if each.is_told_from_noise else ": not told from noise"
    return (
        f"Improvement over random cells, {each.part} {score.measure}: {subject} against {against}: "
        f"{_signed(score_text(score, each.difference))}{unit}{relative} ({interval})."
    )


def sentences(found: Sequence[Improvement], score: Score) -> list[str]:
    """Returns all improvements in words, and what to keep in mind."""
    lines = [sentence(each, score) for each in found]
    if any(each.of == FIRST for each in found):
        lines.append(
            "Positive is better than random. The first of the ranking was picked by its validation figures, which "
            "flatters it there. The figures of all genotypes were not picked by retraining."
        )
    return lines


def _signed(text: str) -> str:
    return text if text.startswith("-") else f"+{text}"


def _many(count: int, one: str) -> str:
    return one if count == 1 else f"{one}s"
