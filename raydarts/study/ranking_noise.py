"""How well a ranking can rank at all: the attainable tau, the places that cannot be told apart, the seeds still needed.

Scores of retrained genotypes hold the noise of evaluation seeds. `ranking_noise` says what follows from the scores
alone. docs/method.md defines each statement, and `python benchmarks/calibration.py` measures how often it is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from raydarts.json_types import Json
from raydarts.study.noise import Array, Draws, SeedNoise, draws_of, seed_noise

Places = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]
CONFIDENCE = 0.9
POWER = 0.8
"""The chance with which the additional seeds settle the first place."""
MOST_SEEDS = 1000
"""If more seeds than this would be needed for each genotype, no number is stated."""
_DRAWS = 4000
_LEAST_DRAWS = 200
_CELLS = 4e7  # truths that a table of draws and pairs may have
_GATE = 2.0
"""Level of the F-test in `_differ`, in units of 1 - confidence. At 2 the groups of normal true scores are right in 90
to 95 % of rankings, and those of clusters of nearly equal ones in 84 to 90 % (43 to 59 % without the test).
"""
_LEAST = 0.85  # no statement is made with a probability below this
_FINE = 400  # pairs; a tau of more pairs has so many values that its quantiles are taken as they are


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that holds it with `probability`."""

    value: float
    low: float
    high: float
    probability: float


@dataclass(frozen=True)
class Group:
    """Places `first` to `last`, counted from 1. No two of them are told apart."""

    first: int
    last: int


@dataclass(frozen=True)
class FirstPlace:
    """How sure it is that the measured first is truly the best, and what would settle it.

    - `probability`: that it is the best of the ranked genotypes.
    - `settled`: whether that is at least the asked confidence.
    - `contenders`: so many places from the first on are not told apart from it. Seeds are needed for these.
    - `more_seeds`: for each contender. 0 if it is settled. None: more than `MOST_SEEDS`.
    """

    probability: float
    settled: bool
    contenders: int
    more_seeds: int | None


@dataclass(frozen=True)
class RankingNoise:
    """What the scores say about the ranking that they give. Genotypes stand in measured order, best first.

    - `seed_sd`, `genotype_sd`: standard deviation of one evaluation seed, and of the true scores, in the score's unit.
    - `attainable`: Kendall's tau of this ranking with the true one.
    - `repeated`: its tau with a second ranking of the same genotypes, by as many new seeds.
    - `expected`: the mean of the tau with the true ranking, over rankings of such genotypes by so many seeds.
    - `groups`: two genotypes that share no group are told apart, and `probability` is that all of them stand in their
      true order.
    - `places`: the places that each genotype may truly have, with at least that probability for all at once.
    """

    confidence: float
    genotypes: tuple[str, ...]
    seeds: tuple[int, ...]
    freedom: int
    seed_sd: Estimate
    genotype_sd: Estimate
    attainable: Estimate
    repeated: Estimate
    expected: Estimate
    groups: tuple[Group, ...]
    probability: float
    places: tuple[Group, ...]
    first: FirstPlace

    def to_json(self) -> dict[str, Json]:
        return {"known": True, **asdict(self)}


@dataclass(frozen=True)
class Unknown:
    """Why nothing can be known of the noise, in words."""

    why: str

    def to_json(self) -> dict[str, Json]:
        return {"known": False, "why": self.why}


ONE_SEED = (
    "every genotype was retrained with one evaluation seed, so nothing can be known of the noise: the order may be "
    "chance. Retrain them, or some of them, with at least two seeds: raydarts sweep SPEC --stage evaluate --genotypes "
    "RUN --set 'evaluate.seeds=[0, 1]'"
)
NO_SPREAD = (
    "all evaluation seeds of a genotype gave the same score, so the noise cannot be measured. The scores may be too "
    "coarse (few held-out examples), or the seeds may change nothing"
)


def ranking_noise(
    scores: Mapping[str, Sequence[float]], mode: str = "max", confidence: float = CONFIDENCE
) -> RankingNoise | Unknown | None:
    """Returns what can be said of a ranking by mean scores. None: fewer than two genotypes are ranked.

    `scores`: genotype -> one finite score for each evaluation seed. The numbers of seeds may differ. `mode`: `max` or
    `min` is better. The same scores give the same statements.
    """
    known = {name: list(values) for name, values in scores.items() if values}
    if len(known) < 2:
        return None
    noise = seed_noise(known.values())
    if noise is None:
        return Unknown(ONE_SEED)
    largest = max(abs(value) for values in known.values() for value in values)
    if noise.sd <= 1e-12 * largest or noise.sd == 0:
        return Unknown(NO_SPREAD)
    sign = 1.0 if mode == "max" else -1.0
    order = sorted(known, key=lambda name: (-sign * fmean(known[name]), name))
    groups = [[sign * value for value in known[name]] for name in order]
    return _stated(order, groups, noise, confidence)


def _stated(
    order: Sequence[str], groups: Sequence[Sequence[float]], noise: SeedNoise, confidence: float
) -> RankingNoise:
    n = np.array([len(group) for group in groups], dtype=np.float64)
    pairs = len(order) * (len(order) - 1) // 2
    draws = draws_of(groups, noise, int(min(_DRAWS, max(_LEAST_DRAWS, _CELLS / pairs))))
    better, worse = np.triu_indices(len(order), 1)
    right, again = _ahead(draws.true), _ahead(_measured_again(draws, n))
    differ = _differ(groups, noise, confidence)[better, worse]
    ends, probability = _told_apart(right & ~draws.equal[:, None], differ, better, worse, len(order), confidence)
    stated = tuple(Group(place + 1, end) for place, end in enumerate(ends) if place == 0 or end > ends[place - 1])
    above = [sum(1 for end in ends if end <= place) for place in range(len(order))]  # genotypes told to be better
    squared = (draws.genotype_sd / draws.seed_sd) ** 2
    return RankingNoise(
        confidence=confidence,
        genotypes=tuple(order),
        seeds=tuple(map(len, groups)),
        freedom=noise.freedom,
        seed_sd=_interval(draws.seed_sd, confidence, below=0.5, value=noise.sd),
        genotype_sd=_interval(draws.genotype_sd, confidence),
        attainable=_tau(right.sum(1), pairs, confidence),
        repeated=_tau(again.sum(1), pairs, confidence),
        expected=_interval(_expected(squared, n, repeated=False), confidence),
        groups=stated,
        probability=probability,
        places=tuple(Group(above[place] + 1, end) for place, end in enumerate(ends)),
        first=_first_place(draws, groups, noise, ends[0], confidence),
    )


def _interval(drawn: Array, confidence: float, *, below: float = 0.7, value: float | None = None) -> Estimate:
    """Returns the interval, with the share `below` of what it leaves out below it. The value is the median, if none is
    given.

    Where all genotypes are equal, nothing lies below the truth, and an interval of 90 % with equal tails is right in
    95 %. A larger tail below brings that closer to 90 %, and changes nothing elsewhere.
    """
    lower = below * (1 - confidence)
    low, middle, high = np.quantile(drawn, [lower, 0.5, lower + confidence])
    return Estimate(float(middle) if value is None else value, float(low), float(high), confidence)


def expected_tau(
    seed_sd: float, genotype_sd: float, seeds: float | Sequence[float], *, repeated: bool = False
) -> float:
    """Returns the Kendall tau that a ranking by mean scores has on average.

    It is the tau with the true ranking, or between two rankings by different seeds (`repeated`). `seeds`: of each
    genotype, or one number for all. Greiner's (1909) relation for normal scores: 2 / pi x arcsin(correlation).
    """
    if genotype_sd == 0:
        return 0.0
    n = np.atleast_1d(np.asarray(seeds, dtype=np.float64))
    ratio = np.array([math.inf if seed_sd == 0 else (genotype_sd / seed_sd) ** 2])
    return float(_expected(ratio, np.repeat(n, 2) if len(n) == 1 else n, repeated=repeated)[0])


def _expected(ratio: Array, n: Array, *, repeated: bool) -> Array:
    """Returns the expected tau for each ratio of variances: the mean over pairs of genotypes."""
    counts, of = np.unique(n, return_counts=True)
    total, weight = np.zeros_like(ratio), 0.0
    for index, one in enumerate(counts):
        for other in range(index, len(counts)):
            number = of[index] * (of[index] - 1) / 2 if other == index else of[index] * of[other]
            if number == 0:
                continue
            noise = 1 / one + 1 / counts[other]
            with np.errstate(divide="ignore"):
                share = 1 / (1 + noise / (2 * ratio))  # of the pair's difference: the true variance over the whole one
            total += number * 2 / math.pi * np.arcsin(share if repeated else np.sqrt(share))
            weight += number
    return np.asarray(total / weight)


def _ahead(scores: Array) -> Truths:
    """Returns for each row whether the better place of each pair has the better score. Pairs are as in triu_indices."""
    places = range(scores.shape[1] - 1)
    return np.concatenate([scores[:, [place]] > scores[:, place + 1 :] for place in places], axis=1)


def _measured_again(draws: Draws, n: Array) -> Array:
    """Returns mean scores by as many new seeds, in each draw."""
    noise = np.random.default_rng(1).standard_normal(draws.true.shape)
    return np.where(draws.equal[:, None], 0.0, draws.true) + draws.seed_sd[:, None] * noise / np.sqrt(n)


def _tau(right: Places, pairs: int, confidence: float) -> Estimate:
    """Returns this ranking's tau with another one, from the number of pairs that both order alike, in each draw.

    With few genotypes tau has few values, and no interval has the asked probability. The interval is the one that comes
    closest to it, with tails as equal as that allows. Its own probability is stated.
    """
    value = float(2 * right.mean() / pairs - 1)
    tail = (1 - confidence) / 2
    if pairs > _FINE:
        low, high = np.quantile(right, [tail, 1 - tail], method="nearest")
        mass = float(np.mean((right >= low) & (right <= high)))
    else:
        shares = np.concatenate([[0.0], np.cumsum(np.bincount(right, minlength=pairs + 1)) / len(right)])
        first, last = np.triu_indices(pairs + 1)
        left, beyond = shares[first], 1 - shares[last + 1]
        masses = 1 - left - beyond
        # No tail is cut where the largest (least) tau alone is likelier than it. Then the other one may have both.
        room_left = 2 * tail if 1 - shares[-2] > tail else tail
        room_beyond = 2 * tail if shares[1] > tail else tail
        cost = np.abs(masses - confidence) + np.maximum(left - room_left, 0) + np.maximum(beyond - room_beyond, 0)
        cost = np.where(masses >= min(_LEAST, confidence), np.round(cost, 4) + 1e-6 * (last - first), np.inf)
        best = int(np.argmin(cost))
        low, high, mass = float(first[best]), float(last[best]), float(masses[best])
    return Estimate(value, float(2 * low / pairs - 1), float(2 * high / pairs - 1), mass)


def _differ(groups: Sequence[Sequence[float]], noise: SeedNoise, confidence: float) -> Truths:
    """Returns for each two places whether the genotypes from the one to the other differ at all, by an F-test.

    Normal true scores are rarely nearly equal. Real genotypes may be, as a group. Then the largest difference in the
    group is large by chance, and a model of normal scores takes it for a true one. This test does not.
    """
    from scipy.special import fdtrc  # noqa: PLC0415 - a command's help needs none

    n = np.array([len(group) for group in groups], dtype=np.float64)
    mean = np.array([fmean(group) for group in groups])
    mean -= np.average(mean, weights=n)
    count, total, squares = (np.concatenate([[0.0], np.cumsum(n * mean**power)]) for power in (0, 1, 2))
    first, last = np.triu_indices(len(groups), 1)
    of, sums, all_squares = (each[last + 1] - each[first] for each in (count, total, squares))
    between = np.maximum(all_squares - sums**2 / of, 0.0) / (last - first)
    table = np.zeros((len(groups), len(groups)), dtype=np.bool_)
    table[first, last] = fdtrc(last - first, noise.freedom, between / noise.sd**2) <= _GATE * (1 - confidence)
    return table


def _told_apart(
    right: Truths, differ: Truths, better: Places, worse: Places, count: int, confidence: float
) -> tuple[list[int], float]:
    """Returns for each place the last place that it is not told apart from, and the statement's probability.

    `right`: a row for each draw, a column for each pair of places; whether the pair is in its true order. `differ`:
    whether the places from the one to the other differ at all. Pairs are added from the surest on, each after the pairs
    that lie around it, so that groups are runs of places. It stops where the probability that all added pairs are right
    comes closest to the asked confidence.
    """
    sure = np.ones((count, count))
    sure[better, worse] = np.where(differ, right.mean(0), -1.0)
    sure = np.minimum.accumulate(sure, 0)
    sure = np.minimum.accumulate(sure[:, ::-1], 1)[:, ::-1]
    order = np.lexsort((better - worse, -sure[better, worse]))
    ordered = right[:, order]
    wrong_at = np.where(ordered.all(1), len(order), np.argmin(ordered, 1))
    lost = np.cumsum(np.bincount(wrong_at, minlength=len(order) + 1)[: len(order)])
    masses = np.concatenate([[1.0], 1 - lost / len(right)])
    allowed = np.concatenate([[True], sure[better, worse][order] >= 0])
    distance = np.where(allowed & (masses >= min(_LEAST, confidence)), np.abs(masses - confidence), np.inf)
    stated = int(np.flatnonzero(distance <= distance.min() + 1e-9)[-1])
    ends = [count] * count
    for pair in order[:stated]:
        ends[better[pair]] = min(ends[better[pair]], int(worse[pair]))
    return ends, float(masses[stated])


def _first_place(
    draws: Draws, groups: Sequence[Sequence[float]], noise: SeedNoise, contenders: int, confidence: float
) -> FirstPlace:
    best = draws.true[:, 0] >= draws.true.max(1)
    share = float(np.mean(np.where(draws.equal, 1 / len(groups), best)))
    if share >= confidence:
        return FirstPlace(share, True, contenders, 0)
    contenders = max(2, contenders)
    near = draws.true[:, :contenders][~draws.equal]
    if not len(near):
        return FirstPlace(share, False, contenders, None)
    # Worlds in which all are equal pull the estimates of the true scores together.
    centre = near.mean(0).mean()
    true = centre + (near.mean(0) - centre) * len(near) / len(draws.true)
    mean = np.array([fmean(group) for group in groups[:contenders]])
    n = np.array([len(group) for group in groups[:contenders]], dtype=np.float64)
    return FirstPlace(share, False, contenders, more_seeds(mean, n, np.asarray(true), noise, confidence))


def more_seeds(
    mean: Array, n: Array, true: Array, noise: SeedNoise, confidence: float = CONFIDENCE, power: float = POWER
) -> int | None:
    """Returns how many more seeds of each genotype settle which one is best. None: more than `MOST_SEEDS`.

    The means so far are of `n` seeds each. Further seeds are simulated around the `true` scores with the `noise`. A
    number is enough if the share `power` of simulations ends with one genotype that is best with `confidence`, by the
    sum of the probabilities that each other one is better.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - a command's help needs none

    luck = np.random.default_rng(0).standard_normal((1000, len(mean)))

    def settles(more: int) -> bool:
        after = (n * mean + more * true + noise.sd * math.sqrt(more) * luck) / (n + more)
        leader = np.argmax(after, 1)
        rows = np.arange(len(after))
        error = noise.sd * np.sqrt(1 / (n + more) + 1 / (n + more)[leader][:, None])
        doubt = stdtr(noise.freedom + more * len(mean), (after - after[rows, leader][:, None]) / error)
        doubt[rows, leader] = 0.0
        return bool(np.mean(doubt.sum(1) <= 1 - confidence) >= power)

    if not settles(MOST_SEEDS):
        return None
    low, high = 0, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high
