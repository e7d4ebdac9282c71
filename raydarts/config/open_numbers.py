"""Distributions of numbers. Each kind is one class, written as `{KIND: [numbers]}`."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar, Self

from raydarts.config.open_values import Axis, Distribution, Value
from raydarts.config.source import Where
from raydarts.json_types import Json


@dataclass(frozen=True)
class Number(Distribution):
    """A number between `low` and `high`."""

    low: float
    high: float
    options: ClassVar[tuple[()]] = ()
    """None. So a searcher can ask any distribution for its options."""
    FORMS: ClassVar[Mapping[int, str]] = {2: "[low, high]"}
    """How it is written, by the number of numbers."""

    @classmethod
    def of(cls, numbers: Sequence[int | float], where: Where) -> Self:
        return cls(where, *map(float, numbers))

    @classmethod
    def complaint(cls, numbers: Sequence[int | float]) -> str | None:
        """Returns why these numbers are no such distribution. None: they are one."""
        low, high = numbers[:2]
        return f"low must be below high, got {low} and {high}" if low >= high else None

    @property
    def is_finite(self) -> bool:
        return False

    @property
    def axis(self) -> Axis:
        return Axis(self.low, self.high)

    def count(self) -> int:
        raise TypeError(f"{self.KIND} has no count of values")

    def value(self, position: int) -> Value:
        raise TypeError(f"{self.KIND} has no value number {position}")

    def ends(self) -> list[Value]:
        return [self.low, self.high]

    def draw(self, generator: random.Random) -> Value:
        return generator.uniform(self.low, self.high)

    def nearest(self, value: Value) -> Value:
        return min(max(value, self.low), self.high)

    def misfit(self, value: Value) -> str | None:
        """Returns why a number is none of the values. None: it is one."""
        return None if self.low <= value <= self.high else "outside"

    @property
    def grid_refusal(self) -> str | None:
        if self.is_finite:
            return None
        return f"a grid cannot enumerate {self.KIND}; write grid: [values], or use sweep.searcher random or optuna"

    @property
    def numbers(self) -> list[int | float]:
        """The numbers of the YAML form."""
        return [self.low, self.high]

    def to_plain(self) -> Json:
        return {self.KIND: self.numbers}

    def in_wandb(self) -> Mapping[str, Any]:
        """Returns the distribution as a parameter of a W&B sweep. Floats stay floats: W&B takes `min: 0` for a whole
        number.
        """
        return {"distribution": self.KIND, "min": self.low, "max": self.high}

    def __str__(self) -> str:
        return f"{self.KIND}: {', '.join(f'{number:g}' for number in self.numbers)}"

    @classmethod
    def properties(cls, itself: dict[str, Any]) -> dict[str, Any]:
        forms = [
            {"type": "array", "items": {"type": "number"}, "minItems": many, "maxItems": many} for many in cls.FORMS
        ]
        return {cls.KIND: forms[0] if len(forms) == 1 else {"anyOf": forms}}


class Uniform(Number):
    """A number between."""

    KIND = "uniform"


class LogUniform(Number):
    """A number whose logarithm is uniform."""

    KIND = "loguniform"

    @classmethod
    def complaint(cls, numbers: Sequence[int | float]) -> str | None:
        if why := super().complaint(numbers):
            return why
        return None if numbers[0] > 0 else f"low must be above 0 (its logarithm is taken), got {numbers[0]}"

    @property
    def axis(self) -> Axis:
        return Axis(self.low, self.high, log=True)

    def draw(self, generator: random.Random) -> Value:
        return self.nearest(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))

    def in_wandb(self) -> Mapping[str, Any]:
        return {"distribution": "log_uniform_values", "min": self.low, "max": self.high}


class Stepped(Number):
    """Numbers in equal steps from `low`. The last step is the greatest that is not above `high`."""

    @property
    def step(self) -> float:
        raise NotImplementedError

    @property
    def is_finite(self) -> bool:
        return True

    def count(self) -> int:
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def value(self, position: int) -> Value:
        return float(f"{self.low + position * self.step:.12g}")

    def ends(self) -> list[Value]:
        return [self.value(0), self.value(self.count() - 1)]

    def draw(self, generator: random.Random) -> Value:
        return self.value(generator.randint(0, self.count() - 1))

    def _position(self, value: Value) -> int:
        return round((value - self.low) / self.step)

    def nearest(self, value: Value) -> Value:
        return self.value(min(max(self._position(value), 0), self.count() - 1))

    def misfit(self, value: Value) -> str | None:
        if why := super().misfit(value):
            return why
        position = self._position(value)
        apart = abs(self.low + position * self.step - value)
        within = position < self.count() and apart <= 1e-9 * max(self.step, abs(value))
        return None if within else "between two steps"


@dataclass(frozen=True)
class QUniform(Stepped):
    """low, low + q, low + 2q, ... up to high."""

    q: float
    KIND = "quniform"
    FORMS = {3: "[low, high, q]"}

    @classmethod
    def complaint(cls, numbers: Sequence[int | float]) -> str | None:
        if why := super().complaint(numbers):
            return why
        low, high, q = numbers
        return None if 0 < q <= high - low else f"q must be above 0 and at most high - low, got {q}"

    @property
    def step(self) -> float:
        return self.q

    @property
    def axis(self) -> Axis:
        return Axis(self.low, self.high, step=self.q)

    def at(self, coordinate: float) -> Value:
        return float(f"{coordinate:.12g}")

    @property
    def numbers(self) -> list[int | float]:
        return [self.low, self.high, self.q]

    def in_wandb(self) -> Mapping[str, Any]:
        return {"values": self.values()}


class RandInt(Stepped):
    """A whole number. Both ends are included."""

    KIND = "randint"

    @classmethod
    def complaint(cls, numbers: Sequence[int | float]) -> str | None:
        if why := super().complaint(numbers):
            return why
        whole = all(float(number).is_integer() for number in numbers)
        return None if whole else f"both ends must be whole numbers, got {numbers[0]} and {numbers[1]}"

    @property
    def step(self) -> float:
        return 1.0

    @property
    def axis(self) -> Axis:
        return Axis(self.low, self.high, whole=True)

    def count(self) -> int:
        return int(self.high) - int(self.low) + 1

    def value(self, position: int) -> Value:
        return int(self.low) + position

    @property
    def numbers(self) -> list[int | float]:
        return [int(self.low), int(self.high)]

    def in_wandb(self) -> Mapping[str, Any]:
        return {"distribution": "int_uniform", "min": int(self.low), "max": int(self.high)}


@dataclass(frozen=True)
class QLogUniform(Stepped):
    """A multiple of q. A number whose logarithm is uniform between `low` and `high` is drawn and rounded to it.

    The values are whole numbers where `low`, `high` and `q` are. There are finitely many, but the small ones are drawn
    more often, so that a grid, which tries each once, does not draw as this says. It may enumerate them all the same.
    """

    q: float
    KIND = "qloguniform"
    FORMS = {3: "[low, high, q]"}

    @classmethod
    def complaint(cls, numbers: Sequence[int | float]) -> str | None:
        if why := super().complaint(numbers):
            return why
        low, high, q = numbers
        if low <= 0 or q <= 0:
            return f"low and q must be above 0 (a logarithm is taken), got {low} and {q}"
        if any(abs(end / q - round(end / q)) > 1e-9 * end / q for end in (low, high)):
            first = max(1, round(low / q))
            last = max(first + 1, round(high / q))
            near = f"[{first * q:.12g}, {last * q:.12g}, {q}]"
            return f"low and high must be multiples of q, for example {near}, got {low} and {high}"
        return None

    @property
    def step(self) -> float:
        return self.q

    @property
    def is_even(self) -> bool:
        return False

    @property
    def axis(self) -> Axis:
        return Axis(self.low, self.high, log=True)

    @property
    def shown_axis(self) -> Axis:
        return Axis(self.low, self.high, step=self.q, whole=True) if self._whole else self.axis

    def value(self, position: int) -> Value:
        value = super().value(position)
        return int(value) if self._whole else value

    @property
    def _whole(self) -> bool:
        return all(number.is_integer() for number in (self.low, self.high, self.q))

    def draw(self, generator: random.Random) -> Value:
        return self.at(math.exp(generator.uniform(math.log(self.low), math.log(self.high))))

    def at(self, coordinate: float) -> Value:
        return self.nearest(coordinate)

    @property
    def numbers(self) -> list[int | float]:
        return [int(number) if self._whole else number for number in (self.low, self.high, self.q)]

    def in_wandb(self) -> Mapping[str, Any]:
        return {"distribution": "q_log_uniform_values", **dict(zip(("min", "max", "q"), self.numbers, strict=True))}


REACH = 5
"""A normal distribution is cut at so many standard deviations from its mean. One draw in 1.7 million lies beyond."""


@dataclass(frozen=True)
class Normal(Number):
    """A number of a normal distribution between `low` and `high`.

    Without ends these are the mean -+ 5 standard deviations. Ends beyond that are cut there. Optuna has no normal
    distribution. It searches on the quantile: the share of the normal distribution that is below the value. The
    quantile of a normal draw is uniform, as Optuna's prior is.
    """

    mean: float
    sd: float
    has_ends: bool
    written: tuple[float, ...]
    KIND = "normal"
    FORMS = {2: "[mean, sd]", 4: "[mean, sd, low, high]"}

    @classmethod
    def of(cls, numbers: Sequence[int | float], where: Where) -> Self:
        mean, sd, *ends = map(float, numbers)
        low, high = _cut(mean, sd, ends)
        return cls(where, low, high, mean, sd, bool(ends), tuple(map(float, numbers)))

    @classmethod
    def complaint(cls, numbers: Sequence[int | float]) -> str | None:
        mean, sd, *ends = map(float, numbers)
        if sd <= 0:
            return f"sd must be above 0, got {numbers[1]}"
        if ends and (why := super().complaint(numbers[2:])):
            return why
        low, high = _cut(mean, sd, ends)
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"mean -+ {REACH} sd must be numbers that a computer holds, got {numbers[0]} and {numbers[1]}"
        if not ends and low >= high:
            return f"sd is too small beside the mean for any value to differ from it, got {numbers[0]} and {numbers[1]}"
        normal = NormalDist(mean, sd)
        if low >= high or normal.cdf(high) - normal.cdf(low) < 1e-6:
            return (
                f"less than one draw in a million lies between {numbers[2]} and {numbers[3]}; choose ends nearer to "
                f"the mean {numbers[0]}"
            )
        return None

    @property
    def _normal(self) -> NormalDist:
        return NormalDist(self.mean, self.sd)

    @property
    def axis(self) -> Axis:
        return Axis(self._normal.cdf(self.low), self._normal.cdf(self.high))

    @property
    def shown_axis(self) -> Axis:
        return Axis(self.low, self.high)

    def at(self, coordinate: float) -> Value:
        return self.nearest(self._normal.inv_cdf(coordinate))

    def coordinate(self, value: Value) -> float:
        axis = self.axis
        return min(max(self._normal.cdf(value), axis.low), axis.high)

    def draw(self, generator: random.Random) -> Value:
        return self.at(generator.uniform(self.axis.low, self.axis.high))

    @property
    def note(self) -> str:
        if self.has_ends:
            return ""
        return (
            f"; this normal reaches {REACH} standard deviations to both sides, from {self.low:g} to {self.high:g}: "
            f"write normal: [{self.mean:g}, {self.sd:g}, low, high] with ends that are allowed"
        )

    @property
    def numbers(self) -> list[int | float]:
        return list(self.written)

    def in_wandb(self) -> Mapping[str, Any]:
        """W&B has no normal distribution with ends. It is told the mean and the standard deviation."""
        return {"distribution": "normal", "mu": self.mean, "sigma": self.sd}

    def __str__(self) -> str:
        return f"{self.KIND}: {self.mean:g}, {self.sd:g}, from {self.low:g} to {self.high:g}"


def _cut(mean: float, sd: float, ends: Sequence[float]) -> tuple[float, float]:
    """Returns the ends of a normal distribution. They lie within its reach."""
    low, high = mean - REACH * sd, mean + REACH * sd
    return (max(low, ends[0]), min(high, ends[1])) if ends else (low, high)
