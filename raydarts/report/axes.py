"""Positions of values along the axes of a chart, and which values are labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from raydarts.report.wording import number

WIDTH, HEIGHT = 440, 300


class Axis(Protocol):
    """The position of a value along an axis, in SVG units, and the labelled values."""

    def __call__(self, value: object) -> float: ...

    def ticks(self) -> list[tuple[float, str]]: ...


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from `low` at `start` to `high` at `end`. With `whole` only whole numbers are
    labelled.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    percent: bool = False
    whole: bool = False

    def __call__(self, value: object) -> float:
        if not isinstance(value, int | float):
            raise TypeError(f"{value!r} has no place on an axis of numbers")
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(value) if self.log else float(value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        values = _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, self.whole)
        shown = [100 * value for value in values] if self.percent else values
        return [(self(value), number(text, 4)) for value, text in zip(values, shown, strict=True)]


class NoAxis:
    """An axis without labels. What is drawn has its own positions."""

    def __call__(self, value: object) -> float:
        raise TypeError(f"{value!r} has no place: this chart has no axis here")

    def ticks(self) -> list[tuple[float, str]]:
        return []


@dataclass(frozen=True)
class Bands:
    """An axis of categories."""

    names: Sequence[str]
    start: float
    end: float

    def __call__(self, value: object) -> float:
        width = (self.end - self.start) / len(self.names)
        return self.start + (list(self.names).index(str(value)) + 0.5) * width

    def ticks(self) -> list[tuple[float, str]]:
        return [(self(name), name) for name in self.names]


def _ticks(low: float, high: float, whole: bool, wanted: int = 5) -> list[float]:
    raw = max((high - low) / wanted, 1.0 if whole else 0.0)
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [factor * 10.0**power for power in range(bottom, top + 1) for factor in factors]
        ticks = [value for value in ticks if low * 0.999 <= value <= high * 1.001]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low, high]


def span(values: Sequence[float], log: bool = False) -> tuple[float, float]:
    """Returns the values' ends with a little room."""
    low, high = min(values), max(values)
    if log:
        room = (high / low) ** 0.05 if high > low else 1.5
        return low / room, high * room
    room = 0.06 * (high - low) if high > low else max(abs(low) * 0.05, 0.5 if low == int(low) else 0.01)
    return low - room, high + room


def plot_area(
    x: Sequence[float] | Sequence[str],
    y: Sequence[float],
    *,
    log_x: bool = False,
    percent_x: bool = False,
    percent_y: bool = False,
    categories: bool = False,
    whole_x: bool = False,
    whole_y: bool = False,
) -> tuple[Axis, Axis]:
    """Returns the two axes of a `Chart` of usual size."""
    across: Axis
    if categories:
        across = Bands([str(value) for value in x], 58, WIDTH - 12)
    else:
        across = Scale(*span([float(v) for v in x], log_x), 62, WIDTH - 20, log_x, percent_x, whole_x)
    return across, Scale(*span(y), HEIGHT - 46, 34, percent=percent_y, whole=whole_y)
