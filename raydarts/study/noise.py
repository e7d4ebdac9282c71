"""How much one evaluation seed changes a score: the noise in which retrained genotypes are ranked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean


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
