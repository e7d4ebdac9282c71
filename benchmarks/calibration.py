"""How often what `raydarts report` says of a ranking is right, on simulated evaluation seeds.

    python benchmarks/calibration.py [--rankings 500] [--cells random_darts_cells_600_epochs.json.gz] [--json OUT]

A ranking is simulated in two steps. True scores are drawn: normal with the standard deviation `spread`, or measured
cells drawn from `--cells`, or all equal. Then each genotype gets scores: its true score plus normal noise of a standard
deviation of .10, one for each seed. `raydarts.study.ranking_noise.ranking_noise` sees the scores alone. The rows `two
clusters`, `one good` and `evenly spaced` are always the same eight genotypes. They are no normal sample, for which
alone 90 % is promised. Right means:

- attainable: the tau of this ranking with the true one lies in the interval. If all are equal there is no true order.
- repeated: the tau of this ranking with a second one of the same genotypes, by as many new seeds, lies in the interval.
- expected: the mean tau of such rankings lies in the interval. It is known from the spreads. For measured cells it is
  the mean of 20,000 simulated rankings.
- groups: every pair of genotypes that is told apart stands in its true order. Where all are equal, every pair that is
  told apart is wrong.
- places: the true place of every genotype lies in its stated places.
- first: how often the measured first is the best, beside the mean of the stated probability.

`stated` is the mean of the probability that the statement itself names. It is not 90 % where a tau of few genotypes has
too few values for that, or where everything is told apart.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from raydarts.cpus import usable_cpus
from raydarts.study.ranking_noise import Estimate, RankingNoise, expected_tau, ranking_noise

SEED_SD = 0.10
CELL_SD = 0.23
Draw = Callable[[np.random.Generator, int], Any]


@dataclass(frozen=True)
class Setting:
    """Genotypes, the seeds of each (at least, at most), and how true scores are drawn."""

    name: str
    genotypes: int
    seeds: tuple[int, int]
    spread: float
    cells: tuple[float, ...] = ()

    def true(self, rng: np.random.Generator) -> Any:
        if self.cells:
            return rng.choice(np.array(self.cells), self.genotypes, replace=False)
        return rng.normal(0, self.spread, self.genotypes)

    def counts(self, rng: np.random.Generator) -> list[int]:
        counts = [int(count) for count in rng.integers(self.seeds[0], self.seeds[1] + 1, self.genotypes)]
        return counts if max(counts) > 1 else [2, *counts[1:]]


def settings(cells: Sequence[float]) -> list[Setting]:
    """From all-equal to well separated; balanced, and 1 to 5 seeds each."""
    chosen = [
        Setting(f"normal, spread {spread:.2f}", genotypes, (seeds, seeds), spread)
        for spread, genotypes, seeds in (
            (0.0, 4, 2), (0.0, 8, 3), (0.0, 20, 2),
            (0.02, 8, 3), (0.02, 20, 2), (0.05, 10, 3), (0.10, 4, 3), (0.10, 10, 2),
            (CELL_SD, 4, 2), (CELL_SD, 6, 3), (CELL_SD, 8, 2), (CELL_SD, 8, 5), (CELL_SD, 12, 4), (CELL_SD, 20, 2),
            (CELL_SD, 20, 5), (1.0, 5, 5), (1.0, 8, 3), (1.0, 20, 3),
        )
    ]  # fmt: skip
    chosen += [Setting(f"normal, spread {CELL_SD:.2f}", genotypes, (1, 5), CELL_SD) for genotypes in (5, 8, 16)]
    chosen += [
        Setting("two clusters", 8, (3, 3), 0.0, (0.0, 0.01, 0.02, 0.03, 0.50, 0.51, 0.52, 0.53)),
        Setting("one good", 8, (3, 3), 0.0, (0.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.5)),
        Setting("evenly spaced", 8, (3, 3), 0.0, tuple(0.1 * index for index in range(8))),
    ]
    if cells:
        chosen += [
            Setting("measured cells", genotypes, seeds, float(np.std(cells, ddof=1)), tuple(cells))
            for genotypes, seeds in ((5, (3, 3)), (8, (2, 2)), (16, (2, 2)), (16, (1, 4)))
        ]
    return chosen


def tau(one: Any, other: Any) -> float:
    """Returns Kendall's tau of two lists of scores without ties."""
    first, second = np.triu_indices(len(one), 1)
    return float(np.mean(np.sign(one[first] - one[second]) * np.sign(other[first] - other[second])))


def simulated_tau(setting: Setting, rng: np.random.Generator, rankings: int = 20_000) -> float:
    """Returns the mean tau of simulated rankings, where no formula is known."""
    taus = []
    for _ in range(rankings):
        true, counts = setting.true(rng), np.array(setting.counts(rng))
        taus.append(tau(true + SEED_SD / np.sqrt(counts) * rng.standard_normal(len(true)), true))
    return fmean(taus)


def judged(
    noise: RankingNoise, true: dict[str, float], second: dict[str, float], expected: float
) -> dict[str, float | None]:
    """Returns which statements about one ranking are right, and the probability that each names.

    `second`: mean scores of the same genotypes by as many new seeds.
    """
    order = np.array([true[name] for name in noise.genotypes])
    equal = bool(np.ptp(order) == 0)
    groups = [(group.first - 1, group.last - 1) for group in noise.groups]
    apart = [
        (better, worse)
        for better in range(len(order))
        for worse in range(better + 1, len(order))
        if not any(first <= better and worse <= last for first, last in groups)
    ]
    right = all(order[better] > order[worse] for better, worse in apart)
    ranks = (-order).argsort().argsort() + 1
    places = [place.first <= rank <= place.last for place, rank in zip(noise.places, ranks, strict=True)]
    measured = -np.arange(len(order), dtype=float)
    repeated = tau(np.array([second[name] for name in noise.genotypes]), measured)
    within = {
        "attainable": None if equal else _holds(noise.attainable, tau(order, measured)),
        "repeated": _holds(noise.repeated, repeated),
        "expected": _holds(noise.expected, expected),
        "groups": right,
        "places": None if equal else all(places),
        "first": None if equal else bool(order[0] >= order.max()),
    }
    stated = {
        "attainable_stated": noise.attainable.probability,
        "repeated_stated": noise.repeated.probability,
        "groups_stated": noise.probability,
        "first_stated": noise.first.probability,
        "told_apart": len(apart) / (len(order) * (len(order) - 1) / 2),
    }
    return {**{name: None if value is None else float(value) for name, value in within.items()}, **stated}


def _holds(stated: Estimate, value: float) -> bool:
    return stated.low - 1e-9 <= value <= stated.high + 1e-9


def measure(setting: Setting, rankings: int, seed: int = 0) -> dict[str, Any]:
    """Returns the share of rankings for which each statement is right."""
    rng = np.random.default_rng(seed)
    simulated = simulated_tau(setting, rng) if setting.cells else None
    rows: list[dict[str, float | None]] = []
    while len(rows) < rankings:
        values, counts = setting.true(rng), setting.counts(rng)
        names = [f"g{index:02d}" for index in rng.permutation(len(values))]
        scores = {
            name: [float(value + SEED_SD * rng.standard_normal()) for _ in range(count)]
            for name, value, count in zip(names, values, counts, strict=True)
        }
        noise = ranking_noise(scores)
        assert isinstance(noise, RankingNoise)
        true = dict(zip(names, map(float, values), strict=True))
        again = values + SEED_SD / np.sqrt(counts) * rng.standard_normal(len(values))
        second = dict(zip(names, map(float, again), strict=True))
        expected = expected_tau(SEED_SD, setting.spread, counts) if simulated is None else simulated
        rows.append(judged(noise, true, second, expected))
    shares = {}
    for name in rows[0]:
        known = [value for row in rows if (value := row[name]) is not None]
        shares[name] = fmean(known) if known else None
    return {
        "setting": setting.name,
        "genotypes": setting.genotypes,
        "seeds": list(setting.seeds),
        "spread": setting.spread,
        "rankings": len(rows),
        **shares,
    }


COLUMNS = {
    "attainable": "attainable",
    "attainable_stated": "(stated)",
    "repeated": "repeated",
    "repeated_stated": "(stated)",
    "expected": "expected",
    "groups": "groups",
    "groups_stated": "(stated)",
    "places": "places",
    "first": "first",
    "first_stated": "(stated)",
    "told_apart": "told apart",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rankings", type=int, default=500, help="of each setting")
    parser.add_argument("--cells", type=Path, help="measured cells: their last test accuracies are true scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args()
    if given.rankings < 1:
        parser.error("--rankings: at least 1")
    cells: list[float] = []
    if given.cells is not None:
        with gzip.open(given.cells, "rt", encoding="utf-8") as file:
            cells = [float(cell["test_accuracy"][-1]) for cell in json.load(file)]
    head = f"{'true scores':20} {'n':>3} {'seeds':>6}  " + " ".join(f"{name:>10}" for name in COLUMNS.values())
    print(head)
    rows = []
    with ProcessPoolExecutor(usable_cpus()) as pool:
        for row in pool.map(partial(measure, rankings=given.rankings, seed=given.seed), settings(cells)):
            rows.append(row)
            seeds = "-".join(dict.fromkeys(map(str, row["seeds"])))
            shown = [" " * 9 + "-" if row[key] is None else f"{100 * row[key]:8.1f} %" for key in COLUMNS]
            print(f"{row['setting']:20} {row['genotypes']:3} {seeds:>6}  {' '.join(shown)}")
            sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps({"seed_sd": SEED_SD, "seed": given.seed, "settings": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
