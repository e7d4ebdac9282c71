"""Where retrainings are spent: who goes to full length, and which genotype gets one more evaluation seed.

1. `places`: all candidates get one short training. The best third of them, four at least, goes to full length.
2. `at_equal_size`: the order after the short training. It takes out what the number of parameters explains.
3. `step`: after each round of full trainings, which genotypes get one more seed, or why none does.

These are pure functions of scores. A sweep and `benchmarks/allocate.py` call the same ones. More is better everywhere.
The result of `step` follows from the scores alone, whatever the order of their arrival.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from raydarts.study.noise import SeedNoise, seed_noise

ALL, THIRD = "all", "third"
AT_LEAST = 4
"""How many go to full length at least. With fewer the best one is too often cut after its short training."""
SHORT = 24
"""A short training has this many times fewer epochs: 25 of 600."""

_RATIOS = tuple(2.0**power for power in range(-3, 3))
"""Spread of genotypes / spread of one seed, from 1/8 to 4. All are equally likely before any score is known."""
_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The spread of one seed is not known. It is taken at these quantiles of what is likely."""
_NODES = 30


def places(top_k: int | str, offered: int) -> int:
    """Returns how many of the `offered` genotypes a stage takes. `all`; `third`: the best third, four at least."""
    if isinstance(top_k, int):
        return min(top_k, offered)
    return offered if top_k == ALL else min(offered, max(AT_LEAST, math.ceil(offered / 3)))


def at_equal_size(scores: Mapping[str, float], sizes: Mapping[str, float]) -> dict[str, float]:
    """Returns short trainings' scores as they would be if all networks had equally many parameters.

    Small networks learn fast, so a short training flatters them. A line of the scores over the logarithm of `sizes`
    shows by how much, and is taken out. It is taken out only if it falls: where larger networks score higher, that is
    no effect of the short training. Without the sizes of all, or with equal sizes, scores stay as they are.
    """
    if any(sizes.get(name, 0.0) <= 0 for name in scores) or len(scores) < 3:
        return dict(scores)
    logs = {name: math.log(sizes[name]) for name in scores}
    middle, level = fmean(logs.values()), fmean(scores.values())
    square = sum((each - middle) ** 2 for each in logs.values())
    slope = sum((logs[name] - middle) * (score - level) for name, score in scores.items()) / square if square else 0.0
    return {name: score - min(slope, 0.0) * (logs[name] - middle) for name, score in scores.items()}


@dataclass(frozen=True)
class Arm:
    """A genotype at full length. `scores`: one for each seed that completed. `asked`: seeds asked for, failed ones
    too."""

    name: str
    scores: tuple[float, ...]
    asked: int

    @property
    def mean(self) -> float:
        return fmean(self.scores)


@dataclass(frozen=True)
class Aim:
    """When no more seeds are added. `within`: the first place counts as right if it is at most so much worse than the
    best."""

    confidence: float
    within: float
    max_seeds: int


@dataclass(frozen=True)
class Belief:
    """What scores say of the first place.

    - `first`: the genotype with the best mean.
    - `probability`: that it is the best, or at most `within` worse than the best.
    - `best`: for each genotype the probability that it is the best one. They sum to 1.
    - `noise`: the spread of one seed, if a genotype has two.
    """

    first: str
    probability: float
    best: Mapping[str, float]
    noise: SeedNoise | None


@dataclass(frozen=True)
class Step:
    """What follows from a belief: a seed more for each of `add`, or why there are none (`stop`)."""

    belief: Belief
    add: tuple[str, ...]
    stop: str | None


def step(arms: Sequence[Arm], aim: Aim, affordable: int | None = None) -> Step | None:
    """Returns what to do once all retrainings that were asked for have ended. None: there is no score at all.

    A seed goes to the first place and to its challenger, the genotype that is the likeliest of the others to be the
    best. If one of them has fewer seeds, it alone gets one. No other genotype ever gets one. `affordable`: how many
    retrainings the limit of epochs still allows. None: there is no limit.
    """
    known = [arm for arm in arms if arm.scores]
    if not known:
        return None
    belief = believe(known, aim.within)
    if len(known) == 1:
        return Step(belief, (), "there is one genotype")
    if belief.probability >= aim.confidence:
        return Step(belief, (), f"the asked confidence of {aim.confidence:g} is reached")
    if affordable is not None and affordable < 1:
        return Step(belief, (), "max_share is spent")
    of = {arm.name: arm for arm in known}
    challenger = max(
        (arm for arm in known if arm.name != belief.first), key=lambda arm: (belief.best[arm.name], arm.mean)
    )
    open_ones = [each for each in (of[belief.first], challenger) if each.asked < aim.max_seeds]
    if not open_ones:
        return Step(belief, (), f"the first two have max_seeds ({aim.max_seeds}) evaluation seeds")
    fewest = min(arm.asked for arm in open_ones)
    add = [arm.name for arm in open_ones if arm.asked == fewest]
    return Step(belief, tuple(add if affordable is None else add[:affordable]), None)


def affordable(share: float | None, entrants: int, epochs: int, spent: int) -> int | None:
    """Returns how many retrainings of `epochs` a limit still allows. None: there is no limit.

    The limit is the `share` of training each of the `entrants` once at full length. `spent`: the epochs of all short
    and full trainings that were asked for.
    """
    if share is None:
        return None
    left = share * entrants * epochs - spent
    return max(0, math.floor(left / epochs + 1e-9))


def believe(arms: Sequence[Arm], within: float = 0.0) -> Belief:
    """Returns what the scores say. Each arm has a score.

    The model: a genotype's true score is normal around a common mean, and a score is normal around the true one. Both
    spreads are unknown. Their ratio is averaged over `_RATIOS` by how well each fits, and the spread of one seed is
    averaged over its posterior. So few seeds make no one sure, and the first of many is not believed too easily. The
    common mean is taken at its best estimate. There are no random numbers: equal scores give equal bits.
    """
    first = max(arms, key=lambda arm: (arm.mean, len(arm.scores), arm.name))
    noise = seed_noise([arm.scores for arm in arms])
    chances = _chances([(arm.mean, len(arm.scores)) for arm in arms], noise, arms.index(first), within)
    return Belief(first.name, chances[1], {arm.name: each for arm, each in zip(arms, chances[0], strict=True)}, noise)


def _chances(
    means: Sequence[tuple[float, int]], noise: SeedNoise | None, first: int, within: float
) -> tuple[list[float], float]:
    """Returns each arm's probability to be the best, and that of the first to be at most `within` worse."""
    import numpy as np  # noqa: PLC0415 - these take a while to import, and only a stage that adds seeds needs them
    from scipy.special import gammaincinv, ndtr  # noqa: PLC0415

    many = len(means)
    if many == 1:
        return [1.0], 1.0
    mean = np.array([each for each, _ in means])
    seeds = np.array([float(count) for _, count in means])
    freedom = 0 if noise is None else noise.freedom
    squares = 0.0 if noise is None else noise.freedom * noise.sd**2
    ratios = np.array(_RATIOS)[:, None]
    weight = 1.0 / (ratios**2 + 1.0 / seeds)  # (ratio, arm): of a mean, in units of one seed's variance
    common = (weight * mean).sum(1, keepdims=True) / weight.sum(1, keepdims=True)
    total = squares + (weight * (mean - common) ** 2).sum(1)
    if total.min() <= 0:  # all scores are equal
        return [1.0 / many] * many, 1.0 if within > 0 else 1.0 / many
    degrees = many - 1 + freedom
    fit = 0.5 * np.log(weight).sum(1) - 0.5 * np.log(weight.sum(1)) - 0.5 * degrees * np.log(total)
    likely = np.exp(fit - fit.max())
    likely /= likely.sum()
    variance = total[:, None] / (2.0 * gammaincinv(degrees / 2.0, np.array(_SHARES)))  # (ratio, share)
    shrunk = common + ratios**2 * weight * (mean - common)  # (ratio, arm)
    spread = np.sqrt(variance[:, :, None] * (ratios**2 * weight / seeds)[:, None, :])  # (ratio, share, arm)
    nodes, mass = np.polynomial.hermite_e.hermegauss(_NODES)
    mass = mass / mass.sum()

    def chance(one: int, slack: float) -> float:
        at = shrunk[:, None, one, None] + spread[:, :, one, None] * nodes + slack  # (ratio, share, node)
        below = np.ones_like(at)
        for other in range(many):
            if other != one:
                below *= ndtr((at - shrunk[:, None, other, None]) / spread[:, :, other, None])
        return float((likely * (below * mass).sum(2).mean(1)).sum())

    best = [chance(one, 0.0) for one in range(many)]
    whole = sum(best)
    best = [each / whole for each in best]
    return best, best[first] if within == 0 else min(1.0, chance(first, within))
