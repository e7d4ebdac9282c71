"""How much one evaluation seed changes a score: the noise in which retrained genotypes are ranked.

The model: a score is the genotype's true score plus the noise of one evaluation seed. True scores are normal with one
spread, noise is normal with another one that all genotypes share. `draws_of` gives what the scores leave open: possible
values of both spreads and of all true scores. `study/ranking_noise.py` makes statements about a ranking of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_SEED = 20190625  # of the draws, so that the same scores give the same statement
_RATIOS = np.concatenate([[0.0], np.logspace(-6, 10, 1200)])
"""Variance between genotypes divided by the variance of a seed: values between which draws are interpolated."""


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of one evaluation seed, pooled over genotypes, and its degrees of freedom.

    `sd` is in the score's own unit. `freedom` is the number of retrainings minus the number of genotypes.
    """

    sd: float
    freedom: int


def seed_noise(groups: Iterable[Sequence[float]]) -> SeedNoise | None:
    """Returns the spread of one evaluation seed, or None if no genotype has two scores.

    Each group holds the scores of one genotype, one for each seed. The variance is the pooled one: the sum of squares
    around each genotype's mean, divided by the degrees of freedom. It takes the spread of all genotypes to be equal.
    """
    squares, freedom = 0.0, 0
    for scores in groups:
        if len(scores) > 1:
            middle = fmean(scores)
            squares += sum((score - middle) ** 2 for score in scores)
            freedom += len(scores) - 1
    return SeedNoise(math.sqrt(squares / freedom), freedom) if freedom else None


@dataclass(frozen=True)
class Draws:
    """What the scores leave open, one possible world in each row.

    - `seed_sd`: the standard deviation of one seed.
    - `genotype_sd`: that of the true scores. 0 where all genotypes may be equal.
    - `true`: the true scores, one column for each genotype. Where all may be equal, the column's order is random.
    """

    seed_sd: Array
    genotype_sd: Array
    true: Array

    @property
    def equal(self) -> npt.NDArray[np.bool_]:
        """The worlds in which all genotypes are equal."""
        return np.asarray(self.genotype_sd == 0)


def draws_of(groups: Sequence[Sequence[float]], noise: SeedNoise, draws: int) -> Draws:
    """Returns possible worlds. `noise` is `seed_noise` of the same groups, with `sd` above 0.

    A variance of seeds is drawn from the sum of squares within genotypes over chi-squared. The ratio of the two
    variances is drawn by inverting Wald's (1947) exact pivot: the weighted sum of squares between genotypes over the
    variance of seeds is chi-squared at the true ratio, for any numbers of seeds. Where no ratio gives a sum so large,
    the ratio is 0. So intervals of the spreads have their stated coverage for every true ratio above 0. True scores
    follow from both spreads, shrunken towards their mean.
    """
    rng = np.random.default_rng(_SEED)
    n = np.array([len(group) for group in groups], dtype=np.float64)
    mean = np.array([fmean(group) for group in groups])
    variance = noise.sd**2 * noise.freedom / rng.chisquare(noise.freedom, draws)
    weight = n / (1 + _RATIOS[:, None] * n)
    middle = (weight * mean).sum(1) / weight.sum(1)
    between = np.maximum((weight * (mean - middle[:, None]) ** 2).sum(1), 1e-300)  # falls with the ratio
    wanted = variance * rng.chisquare(len(groups) - 1, draws)
    ratio = np.where(wanted >= between[0], 0.0, np.interp(-np.log(wanted), -np.log(between), _RATIOS))
    share = n / (1 + ratio[:, None] * n)
    centre = (share * mean).sum(1) / share.sum(1) + np.sqrt(variance / share.sum(1)) * rng.standard_normal(draws)
    pull = n * ratio[:, None]
    true = (pull * mean + centre[:, None]) / (pull + 1)
    true += np.sqrt(variance * ratio)[:, None] / np.sqrt(pull + 1) * rng.standard_normal((draws, len(groups)))
    chance = rng.standard_normal((draws, len(groups)))
    return Draws(np.sqrt(variance), np.sqrt(variance * ratio), np.where(ratio[:, None] == 0, chance, true))
