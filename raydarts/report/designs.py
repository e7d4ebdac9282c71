"""Which units compare the values of a setting: searches, configurations, or search seeds of the same configurations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from raydarts.report import stats
from raydarts.report.blocks import blocks_for, seed_blocks
from raydarts.report.gather import Run, Searched
from raydarts.report.limits import Limits
from raydarts.report.swept import Setting, is_number
from raydarts.report.wording import number

_FREEDOM = 4
"""Degrees of freedom that a design must leave, else a coarser one is taken: with fewer no interval says anything."""
OF_SEEDS = "search seeds"
Value = Callable[[Searched], float | None]


@dataclass(frozen=True)
class Design:
    """The value of the setting and the outcome of each unit. More is better.

    - `of`: what the units are, in words.
    - `blocks`: which units can be compared with each other, the finest blocks first.
    """

    of: str
    values: Sequence[str]
    y: Sequence[float]
    blocks: Sequence[Sequence[Hashable]]

    @property
    def counts(self) -> Mapping[str, int]:
        return {name: self.values.count(name) for name in dict.fromkeys(self.values)}

    def contrast(self, limits: Limits, alpha: float) -> stats.Contrast | None:
        """Returns the largest difference between two values, in the finest blocks that leave enough to judge it by."""
        if len(set(self.values)) < 2 or len(self.values) < 3 or len(set(self.y)) < 2:
            return None
        contrast = None
        for block in self.blocks:
            contrast = stats.largest_contrast(self.values, self.y, block, limits, alpha)
            if contrast is not None and contrast.freedom >= _FREEDOM:
                break
        return contrast if contrast is not None and contrast.sd > 0 else None


def compared(
    run: Run, setting: Setting, value: Value, sign: float, limits: Limits, alpha: float
) -> tuple[Design, stats.Contrast | None]:
    """Returns the first design that leaves enough to judge by, else the one that leaves most.

    It depends on which trials there are, and not on what they came to.
    """
    known = [(design, design.contrast(limits, alpha)) for design in _designs(run, setting, value, sign)]
    enough = [each for each in known if each[1] is not None and each[1].freedom >= _FREEDOM]
    return (enough or sorted(known, key=lambda each: -1 if each[1] is None else -each[1].freedom - 1))[0]


def _designs(run: Run, setting: Setting, value: Value, sign: float) -> Iterator[Design]:
    known = [unit for unit in run.units(value) if setting.name in unit[0].choices]
    units = [search for search, _ in known]
    blocks = [blocks_for(run, setting, units).block, seed_blocks(units).block, [0] * len(units)]
    yield Design(run.unit, _values(setting, units), [sign * score for _, score in known], blocks)
    if run.configurations:
        yield _of_seeds(run, setting, value, sign)


def _of_seeds(run: Run, setting: Setting, value: Value, sign: float) -> Design:
    """Returns search seeds as units: of each value and seed the mean over the configurations with that value.

    What it shows holds for these configurations. It is meant for a few of them, such as a grid over this setting alone.
    """
    searches = [
        search
        for search in run.completed
        if search.seed is not None and setting.name in search.choices and value(search) is not None
    ]
    cells: dict[tuple[str, int], list[float]] = {}
    for name, search in zip(_values(setting, searches), searches, strict=True):
        cells.setdefault((name, search.seed or 0), []).append(sign * float(value(search) or 0.0))
    seeds = [seed for _, seed in cells]
    means = [fmean(scores) for scores in cells.values()]
    return Design(OF_SEEDS, [name for name, _ in cells], means, [seeds, [0] * len(seeds)])


def _values(setting: Setting, units: Sequence[Searched]) -> list[str]:
    """Returns each search's value in words: itself, or the part of the range in which it lies."""
    values = [search.choices[setting.name] for search in units]
    if not setting.trend:
        return [number(value) for value in values]
    numbers = [float(value) for value in values if is_number(value)]
    if not numbers:
        return []
    middle = sorted(numbers)[len(numbers) // 2]
    if middle == min(numbers):  # most have the least value: the others are compared with these
        middle = min((value for value in numbers if value > middle), default=middle)
    return [f"below {number(middle)}" if value < middle else f"{number(middle)} or more" for value in numbers]
