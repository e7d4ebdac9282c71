"""Distributions of numbers. Each kind is one class, written as `{KIND: [numbers]}`."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from raydarts.config.open_values import Axis, Distribution, Value
from raydarts.config.source import Where
from raydarts.json_types import Json


@dataclass(frozen=True)
class Number(Distribution):
    """A number between `low` and `high`."""

    low: float
    high: float
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
