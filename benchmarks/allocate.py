"""What the allocator of `evaluate.confidence` is worth on recorded trainings, against other ways to spend epochs.

    python benchmarks/allocate.py FILE [--json OUT] [--sweeps 1000] [--candidates 9 20] [--halves 10]

FILE: a JSON list, also gzipped. Each item is a trained cell: its `genotype`, and its `test_accuracy` in points after
each epoch of one training. The true accuracy of a cell is that of the last epoch.

The health bars of a sweep's default come first: cells that break them are left out, for all ways (`--no-bar`: none).
A simulated sweep draws its candidates among the others. A training of a candidate ends with its recorded accuracy plus
the noise of an evaluation seed (`--noise`, standard deviation in points; one number for each training). All ways get
the same candidates and the same noise:

- `allocator`: as a sweep does it, by the same functions (`raydarts/study/allocation.py`).
- `allocator, measured order`: the short trainings' scores are not corrected for the size of the network.
- `allocator, no limit`: seeds are added until the confidence is reached, whatever it takes (`max_share: null`).
- `top-k, 2 seeds`: the best quarter after the short training, two seeds each.
- `successive halving`: a ninth of the epochs, the best third goes on to a third of them, and of these the best third to
  the end. Trainings go on from where they stopped.
- `full, 1 seed`, `full, 2 seeds`: every candidate at full length.

A short training is the record up to an early epoch. That is no annealed short training, as a sweep's rung is: the
learning rate is still high, and one epoch's accuracy is up to two points off its neighbours'. So its score is the mean
over the last fifth of its epochs. `--last-epoch` takes the last epoch alone.

Regret: the true accuracy of the best candidate minus that of the pick, in points. Share: epochs as a part of training
all candidates once at full length. Intervals hold 95 % of resampled sweeps.

`halves`: the cells are divided at random, again and again. On one half the best length of the short training is chosen,
with or without the correction for size, and it is measured on the other half, and so is the default.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from raydarts.config.allocation import AllocatedSettings
from raydarts.config.ranking import HealthSettings, default_checks
from raydarts.genotype_facts import parameters_of
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.study.allocation import (
    SHORT,
    THIRD,
    Aim,
    Arm,
    Step,
    affordable,
    at_equal_size,
    places,
    short_epochs,
    step,
)
from raydarts.study.bars import complaints

MOST_REGRET, MOST_SHARE = 0.06, 0.5
RESAMPLED = 2000
SHORTS = (50, 24, 12, 6)
"""By how many times short trainings are shorter: 12, 25, 50 and 100 of 600 epochs."""
_DEFAULTS = AllocatedSettings(confidence=0.9)


@dataclass(frozen=True)
class Cell:
    """A trained cell. `size`: parameters of its standard network."""

    accuracies: tuple[float, ...]
    healthy: bool
    size: float

    @property
    def true(self) -> float:
        return self.accuracies[-1]


@dataclass(frozen=True)
class Settings:
    """Of the allocator and the simulation. `last`: a short training's score is that of its last epoch alone."""

    short: int
    noise: float
    confidence: float = 0.9
    max_share: float | None = _DEFAULTS.max_share
    equal_size: bool = True
    last: bool = False


@dataclass(frozen=True)
class Spent:
    """What a way came to: its pick, its epochs, and how sure it was of the pick where it says so."""

    pick: int
    epochs: int
    believed: Step | None = None


class Sweep:
    """The candidates of one simulated sweep, and the noise of their trainings."""

    def __init__(self, cells: Sequence[Cell], number: int, candidates: int, settings: Settings) -> None:
        generator = np.random.default_rng((17, number))
        self.cells = [cells[each] for each in generator.choice(len(cells), candidates, replace=False)]
        self.settings = settings
        self._short = generator.normal(0.0, settings.noise, candidates)
        self._full = generator.normal(0.0, settings.noise, (candidates, 64))

    @property
    def epochs(self) -> int:
        return len(self.cells[0].accuracies)

    def early(self, cell: int, epochs: int) -> float:
        """The score of a training that ended early."""
        over = 1 if self.settings.last else max(1, epochs // 5)
        return fmean(self.cells[cell].accuracies[epochs - over : epochs]) + float(self._short[cell])

    def full(self, cell: int, seed: int) -> float:
        return self.cells[cell].true + float(self._full[cell, seed])

    def shortlist(self, count: int, epochs: int) -> list[int]:
        scores = {str(cell): self.early(cell, epochs) for cell in range(len(self.cells))}
        if self.settings.equal_size:
            scores = at_equal_size(scores, {str(number): cell.size for number, cell in enumerate(self.cells)})
        return sorted(range(len(self.cells)), key=lambda cell: -scores[str(cell)])[:count]

    def regret(self, pick: int) -> float:
        return max(cell.true for cell in self.cells) - self.cells[pick].true


def allocator(sweep: Sweep) -> Spent:
    """The rounds of `sweeping/allocating.py`, with the record in the place of trainings."""
    settings, many = sweep.settings, len(sweep.cells)
    aim = Aim(settings.confidence, _DEFAULTS.within, _DEFAULTS.max_seeds if settings.max_share is not None else 60)
    scores = {cell: [sweep.full(cell, 0)] for cell in sweep.shortlist(places(THIRD, many), settings.short)}
    while True:
        spent = many * settings.short + sweep.epochs * sum(map(len, scores.values()))
        left = affordable(settings.max_share, many, sweep.epochs, spent)
        arms = [Arm(str(cell), tuple(sorted(each)), len(each)) for cell, each in scores.items()]
        decided = step(arms, aim, left)
        if decided is None or decided.stop is not None:
            return Spent(int(decided.belief.first) if decided is not None else 0, spent, decided)
        for name in decided.add:
            scores[int(name)].append(sweep.full(int(name), len(scores[int(name)])))


def measured_order(sweep: Sweep) -> Spent:
    return allocator(_with(sweep, equal_size=False))


def no_limit(sweep: Sweep) -> Spent:
    return allocator(_with(sweep, max_share=None))


def _with(sweep: Sweep, **changed: Any) -> Sweep:
    other = object.__new__(Sweep)
    other.__dict__.update(sweep.__dict__)
    other.settings = replace(sweep.settings, **changed)
    return other


def _by_mean(sweep: Sweep, cells: Sequence[int], seeds: int) -> int:
    return max(cells, key=lambda cell: fmean(sweep.full(cell, seed) for seed in range(seeds)))


def top_k(sweep: Sweep) -> Spent:
    sweep, many = _with(sweep, equal_size=False), len(sweep.cells)
    short = sweep.settings.short
    chosen = sweep.shortlist(max(1, many // 4), short)
    return Spent(_by_mean(sweep, chosen, 2), many * short + 2 * len(chosen) * sweep.epochs)


def halving(sweep: Sweep) -> Spent:
    left, spent, before = list(range(len(sweep.cells))), 0, 0
    for part in (9, 3):
        epochs = sweep.epochs // part
        spent, before = spent + len(left) * (epochs - before), epochs
        left.sort(key=lambda cell: -sweep.early(cell, epochs))
        left = left[: max(1, len(left) // 3)]
    return Spent(_by_mean(sweep, left, 1), spent + len(left) * (sweep.epochs - before))


def full(seeds: int) -> Callable[[Sweep], Spent]:
    def way(sweep: Sweep) -> Spent:
        everyone = range(len(sweep.cells))
        return Spent(_by_mean(sweep, everyone, seeds), len(everyone) * seeds * sweep.epochs)

    return way


ALLOCATOR = "allocator"
WAYS: dict[str, Callable[[Sweep], Spent]] = {
    ALLOCATOR: allocator,
    "allocator, measured order": measured_order,
    "allocator, no limit": no_limit,
    "top-k, 2 seeds": top_k,
    "successive halving": halving,
    "full, 1 seed": full(1),
    "full, 2 seeds": full(2),
}


def read(file: Path) -> list[Cell]:
    """Raises `SystemExit` with a sentence where the file is not what it must be."""
    try:
        content = file.read_bytes()
        listed = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except (OSError, ValueError, EOFError) as error:
        raise SystemExit(f"{file}: cannot be read: {error}") from None
    bars = HealthSettings.model_validate(default_checks()).bars()
    cells, lengths = [], set()
    if not isinstance(listed, list) or not listed:
        raise SystemExit(f"{file}: must be a list of cells, each with genotype and test_accuracy")
    for number, row in enumerate(listed):
        accuracies = row.get("test_accuracy") if isinstance(row, Mapping) else None
        if not isinstance(accuracies, list) or not all(isinstance(each, int | float) for each in accuracies):
            raise SystemExit(f"{file}: item {number}: needs test_accuracy, a list of numbers, one for each epoch")
        genotype = Genotype.from_json(row.get("genotype"), f"{file}: item {number}")
        healthy = not complaints(bars, cell_facts(genotype))
        cells.append(Cell(tuple(map(float, accuracies)), healthy, float(parameters_of(genotype, str(file)))))
        lengths.add(len(accuracies))
    if len(lengths) > 1 or min(lengths) < SHORT:
        raise SystemExit(f"{file}: test_accuracy must have equally many epochs in all items, {SHORT} at least")
    return cells


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and its 95 % interval over resampled sweeps."""
    drawn = np.random.default_rng(0).choice(np.asarray(values, float), size=(RESAMPLED, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return fmean(values), float(low), float(high)


def simulate(
    cells: Sequence[Cell], candidates: int, sweeps: int, settings: Settings, way: Callable[[Sweep], Spent]
) -> dict[str, list[float]]:
    """Of each sweep the regret, the share of epochs, and where the way was sure of its pick, whether it was right."""
    came: dict[str, list[float]] = {"regret": [], "share": [], "sure": []}
    for number in range(sweeps):
        sweep = Sweep(cells, number, candidates, settings)
        spent = way(sweep)
        came["regret"].append(sweep.regret(spent.pick))
        came["share"].append(spent.epochs / (len(sweep.cells) * sweep.epochs))
        belief = None if spent.believed is None else spent.believed.belief
        if belief is not None and len(belief.best) > 1 and belief.probability >= settings.confidence:
            best = max(sweep.cells[int(name)].true for name in belief.best)
            came["sure"].append(float(sweep.cells[spent.pick].true == best))
    return came


def compare(cells: Sequence[Cell], candidates: int, sweeps: int, settings: Settings) -> list[dict[str, Any]]:
    rows = []
    for name, way in WAYS.items():
        came = simulate(cells, candidates, sweeps, settings, way)
        rows.append(
            {
                "candidates": candidates,
                "way": name,
                "regret": interval(came["regret"]),
                "share": interval(came["share"]),
                "most_share": max(came["share"]),
                "sure_in": len(came["sure"]) / sweeps,
                "right_where_sure": fmean(came["sure"]) if came["sure"] else None,
            }
        )
    return rows


def unseen(cells: Sequence[Cell], candidates: int, sweeps: int, settings: Settings, halves: int) -> dict[str, Any]:
    """Settings chosen on one half of the cells, and the default, both measured on the other half."""
    lengths = dict.fromkeys(max(1, round(len(cells[0].accuracies) / each)) for each in SHORTS)
    choices = [replace(settings, short=short, equal_size=equal) for short in lengths for equal in (True, False)]
    chosen, default, shares, picked = [], [], [], []
    for number in range(halves):
        order = np.random.default_rng((18, number)).permutation(len(cells))
        one, other = ([cells[each] for each in part] for part in np.array_split(order, 2))
        for seen, rest in ((one, other), (other, one)):
            figures = []
            for each in choices:
                came = simulate(seen, candidates, sweeps, each, allocator)
                figures.append((fmean(came["share"]) > MOST_SHARE, fmean(came["regret"])))
            best = choices[figures.index(min(figures))]
            picked.append(f"{best.short} epochs, {'equal size' if best.equal_size else 'as measured'}")
            chosen.append(fmean(simulate(rest, candidates, sweeps, best, allocator)["regret"]))
            came = simulate(rest, candidates, sweeps, settings, allocator)
            default.append(fmean(came["regret"]))
            shares.append(fmean(came["share"]))
    return {
        "candidates": candidates,
        "halves": 2 * halves,
        "regret_of_chosen": (fmean(chosen), min(chosen), max(chosen)),
        "regret_of_default": (fmean(default), min(default), max(default)),
        "default_within": fmean(each <= MOST_REGRET for each in default),
        "share_of_default": fmean(shares),
        "chosen": {name: picked.count(name) for name in sorted(set(picked))},
    }


def shown(values: Sequence[float], digits: int) -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def in_words(row: Mapping[str, Any]) -> str:
    text = f"{row['way']}: regret {shown(row['regret'], 4)}, share {shown(row['share'], 3)}"
    if row["right_where_sure"] is None:
        return text
    return f"{text}; sure in {row['sure_in']:.0%} of the sweeps, right in {row['right_where_sure']:.0%} of these"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="recorded trainings")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument(
        "--sweeps", type=int, default=1000, help="simulated sweeps for each number of candidates (1000)"
    )
    parser.add_argument("--candidates", type=int, nargs="+", default=[9, 20], help="candidates of a sweep (9 20)")
    parser.add_argument("--noise", type=float, default=0.1, help="of one evaluation seed, in points (0.1)")
    parser.add_argument("--halves", type=int, default=10, help="random divisions of the cells in two; 0: none (10)")
    parser.add_argument("--last-epoch", action="store_true", help="score a short training by its last epoch alone")
    parser.add_argument("--no-bar", action="store_true", help="draw unhealthy cells too")
    arguments = parser.parse_args()
    if min(arguments.sweeps, *arguments.candidates) < 1 or arguments.halves < 0 or arguments.noise < 0:
        parser.error("--sweeps and --candidates must be at least 1, --halves and --noise at least 0")
    cells = read(arguments.file)
    epochs = len(cells[0].accuracies)
    settings = Settings(short_epochs(epochs), arguments.noise, last=arguments.last_epoch)
    recorded, healthy = len(cells), sum(cell.healthy for cell in cells)
    print(f"{recorded} cells, {healthy} of them healthy; {epochs} epochs; short trainings of {settings.short} epochs")
    cells = cells if arguments.no_bar else [cell for cell in cells if cell.healthy]
    if max(arguments.candidates) > len(cells):
        parser.error(f"--candidates: {arguments.file} has {len(cells)} cells to draw from; give at most as many")
    rows: list[dict[str, Any]] = []
    verdicts = []
    halves = []
    for candidates in arguments.candidates:
        compared = compare(cells, candidates, arguments.sweeps, settings)
        for row in compared:
            print(f"{candidates} candidates, {in_words(row)}")
        ours = next(row for row in compared if row["way"] == ALLOCATOR)
        regret, share = ours["regret"][0], ours["share"][0]
        met = regret <= MOST_REGRET and share <= MOST_SHARE
        verdicts.append({"candidates": candidates, "met": met, "regret": regret, "share": share})
        aim = f"a regret of at most {MOST_REGRET} at a share of at most {MOST_SHARE}"
        print(f"{candidates} candidates, {ALLOCATOR}: {aim}: {'met' if met else 'NOT met'}")
        rows += compared
        if arguments.halves and candidates <= len(cells) // 2:
            one = unseen(cells, candidates, max(1, arguments.sweeps // 5), settings, arguments.halves)
            halves.append(one)
            print(
                f"{candidates} candidates, unseen halves: regret of the default {shown(one['regret_of_default'], 4)} "
                f"(mean, smallest, largest), at most {MOST_REGRET} in {one['default_within']:.0%}; chosen on the other "
                f"half {shown(one['regret_of_chosen'], 4)}: {one['chosen']}"
            )
    if arguments.json is not None:
        whole = {
            "file": arguments.file.name,
            "cells": recorded,
            "healthy": healthy,
            "epochs": epochs,
            "sweeps": arguments.sweeps,
            "noise": arguments.noise,
            "confidence": settings.confidence,
            "max_share": settings.max_share,
            "short": settings.short,
            "last_epoch": settings.last,
            "bar": not arguments.no_bar,
            "most_regret": MOST_REGRET,
            "most_share": MOST_SHARE,
            "verdicts": verdicts,
            "rows": rows,
            "halves": halves,
        }
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
