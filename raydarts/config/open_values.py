"""The parts of a search space: fixed values, mappings and lists, and distributions over options.

Each kind of distribution is one class. It says how it is written, which values it has, how one is drawn, how Optuna
searches it, and what W&B calls it. Numbers are in `open_numbers`. A new kind is a class here or there, and its entry in
`distributions.KINDS`.
"""

from __future__ import annotations

import bisect
import json
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from raydarts.config.source import Where
from raydarts.errors import shortened
from raydarts.json_types import Json

Path = tuple[str | int, ...]
Value = int | float
"""What is chosen from a distribution: the index of an option, or a number."""


@dataclass(frozen=True)
class Axis:
    """A range of numbers that a model searches. `log`: by the logarithm. `step`: in steps from `low`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Leaf:
    value: Json
    where: Where


@dataclass(frozen=True)
class Branch:
    """A mapping (`keys` set) or a list (`keys` None). A list with optional items has a unique label for each item."""

    keys: tuple[str, ...] | None
    items: tuple[TreeNode, ...]
    where: Where
    labels: tuple[str, ...] = ()

    def parts(self, name: str) -> Iterator[tuple[str | int, str, TreeNode]]:
        """Yields the key of each part, its name in the whole space, and the part.

        Beside optional items the name of a mapping says what it is, since its position in a configuration differs.
        """
        keys: tuple[str | int, ...] = tuple(range(len(self.items))) if self.keys is None else self.keys
        for index, (key, item) in enumerate(zip(keys, self.items, strict=True)):
            label = f"[{self.labels[index]}]" if self.labels and isinstance(item, Branch) else ""
            yield key, f"{name}.{key}{label}", item


@dataclass(frozen=True)
class Distribution(ABC):
    """An open value."""

    where: Where
    KIND: ClassVar[str]
    BESIDE: ClassVar[tuple[str, ...]] = ()
    """Keys that may stand beside the kind's own."""

    @property
    def is_finite(self) -> bool:
        """Whether the values can be counted."""
        return True

    @property
    def is_even(self) -> bool:
        """Whether each of finitely many values is drawn equally often."""
        return self.is_finite

    @property
    @abstractmethod
    def axis(self) -> Axis | None:
        """The range that a model searches. `at` turns its numbers into values. None: the labels of options."""

    @property
    def shown_axis(self) -> Axis | None:
        """The range of the values themselves, for those who look at them. None: the labels of options."""
        return self.axis

    @abstractmethod
    def count(self) -> int:
        """Returns how many values a finite distribution has."""

    @abstractmethod
    def value(self, position: int) -> Value:
        """Returns one value of a finite distribution: the index for options."""

    def values(self) -> list[Value]:
        """Returns every value of a finite distribution, in order."""
        return [self.value(position) for position in range(self.count())]

    @abstractmethod
    def ends(self) -> list[Value]:
        """Returns the values that bound all others: every option, or the two ends."""

    @abstractmethod
    def draw(self, generator: random.Random) -> Value:
        """Returns a random value."""

    def at(self, coordinate: float) -> Value:
        """Returns the value at a place of the axis."""
        return coordinate

    def coordinate(self, value: Value) -> float:
        """Returns a place of the axis that has the value."""
        return value

    def nearest(self, value: Value) -> Value:
        """Returns the value that lies nearest to a number."""
        return value

    def recorded(self, value: Value) -> Json:
        """Returns what a trial keeps of the value."""
        return value

    def chosen(self, recorded: Any) -> Value:
        """Returns the value of which a trial kept this. Raises `KeyError` if there is none."""
        if isinstance(recorded, bool) or not isinstance(recorded, int | float):
            raise KeyError(recorded)
        return recorded

    @property
    def grid_refusal(self) -> str | None:
        """Why a grid cannot try each value once, with what to write instead. None: it can."""
        return None

    @property
    def note(self) -> str:
        """What a message about a refused value adds."""
        return ""

    @abstractmethod
    def to_plain(self) -> Json:
        """Returns the YAML form."""

    @classmethod
    @abstractmethod
    def properties(cls, itself: dict[str, Any]) -> dict[str, Any]:
        """Returns the JSON schema of each key of the YAML form. `itself`: the schema of the value in its place."""


@dataclass(frozen=True)
class Options(Distribution):
    """One of some parts. Each has a unique label."""

    options: tuple[TreeNode, ...]
    labels: tuple[str, ...]

    @property
    def axis(self) -> Axis | None:
        return None

    def count(self) -> int:
        return len(self.options)

    def value(self, position: int) -> Value:
        return position

    def ends(self) -> list[Value]:
        return self.values()

    def draw(self, generator: random.Random) -> Value:
        return generator.randrange(len(self.options))

    def recorded(self, value: Value) -> Json:
        option = self.options[int(value)]
        return option.value if isinstance(option, Leaf) else self.labels[int(value)]

    def chosen(self, recorded: Any) -> Value:
        for index in range(len(self.options)):
            if json.dumps(self.recorded(index)) == json.dumps(recorded):
                return index
        raise KeyError(recorded)

    def to_plain(self) -> Json:
        return {self.KIND: [to_plain(option) for option in self.options]}

    def __str__(self) -> str:
        return f"{self.KIND}: {', '.join(shortened(label, 200) for label in self.labels)}"

    @classmethod
    def properties(cls, itself: dict[str, Any]) -> dict[str, Any]:
        return {cls.KIND: {"type": "array", "items": itself, "minItems": 1}}


@dataclass(frozen=True)
class Choice(Options):
    """With `weights`, an option is drawn as often as its weight says.

    Optuna has no options with weights. It searches on a number between 0 and 1, in which each option has a part as wide
    as its weight. A uniform number then draws by weight, and that is Optuna's prior.
    """

    weights: tuple[float, ...] = ()
    KIND = "choice"
    BESIDE = ("weights",)

    @property
    def is_even(self) -> bool:
        return not self.weights

    @property
    def axis(self) -> Axis | None:
        return Axis(0.0, 1.0) if self.weights else None

    @property
    def shown_axis(self) -> Axis | None:
        return None

    def _ends_of_parts(self) -> list[float]:
        """Returns where on the axis the part of each option ends."""
        total = math.fsum(self.weights)
        return [math.fsum(self.weights[: index + 1]) / total for index in range(len(self.weights))]

    def at(self, coordinate: float) -> Value:
        if not self.weights:
            return super().at(coordinate)
        return min(bisect.bisect_right(self._ends_of_parts(), coordinate), len(self.options) - 1)

    def coordinate(self, value: Value) -> float:
        if not self.weights:
            return super().coordinate(value)
        ends = [0.0, *self._ends_of_parts()]
        return (ends[int(value)] + ends[int(value) + 1]) / 2

    def draw(self, generator: random.Random) -> Value:
        return self.at(generator.random()) if self.weights else super().draw(generator)

    @property
    def grid_refusal(self) -> str | None:
        if not self.weights:
            return None
        return (
            "a grid tries each option once, so that weights would do nothing; leave weights out, or use sweep.searcher "
            "random or optuna"
        )

    def to_plain(self) -> Json:
        plain = {self.KIND: [to_plain(option) for option in self.options]}
        return {**plain, "weights": list(self.weights)} if self.weights else plain

    def __str__(self) -> str:
        weights = ", ".join(f"{weight:g}" for weight in self.weights)
        return f"{super().__str__()}; weights {weights}" if self.weights else super().__str__()

    @classmethod
    def properties(cls, itself: dict[str, Any]) -> dict[str, Any]:
        weights = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 1}
        return {**super().properties(itself), "weights": weights}


class Grid(Options):
    KIND = "grid"


class OptionalItem(Options):
    """An item of a list that is there or not. Its options are nothing and the item."""

    KIND = "optional"
    ABSENT: ClassVar[str] = "absent"

    @classmethod
    def of(cls, item: TreeNode, label: str, where: Where) -> Self:
        return cls(where, (Leaf(None, where), item), (cls.ABSENT, label))

    @property
    def item(self) -> TreeNode:
        return self.options[1]

    def recorded(self, value: Value) -> Json:
        return self.labels[int(value)]

    def to_plain(self) -> Json:
        return {self.KIND: to_plain(self.item)}

    @classmethod
    def properties(cls, itself: dict[str, Any]) -> dict[str, Any]:
        return {cls.KIND: itself}


@dataclass(frozen=True)
class Tied:
    """The value of another place of the same configuration, times a number."""

    to: str
    """The other place, as it is written: `search.lr`."""
    times: int | float | None
    where: Where
    KIND: ClassVar[str] = "tied_to"
    BESIDE: ClassVar[tuple[str, ...]] = ("times",)

    @property
    def place(self) -> tuple[str, ...]:
        """The keys that lead to the other place, below the section."""
        return tuple(self.to.split(".")[1:])

    def of(self, value: Json) -> Json:
        """Returns the value here, of the value there. A whole number stays one where the product is whole."""
        if self.times is None or isinstance(value, bool) or not isinstance(value, int | float):
            return value
        product = value * self.times
        return int(product) if isinstance(value, int) and float(product).is_integer() else product

    def to_plain(self) -> Json:
        return {self.KIND: self.to} | ({} if self.times is None else {"times": self.times})

    def __str__(self) -> str:
        return f"tied to {self.to}" + ("" if self.times is None else f", times {self.times:g}")

    @classmethod
    def properties(cls) -> dict[str, Any]:
        """Returns the JSON schema of each key."""
        return {cls.KIND: {"type": "string", "pattern": "^search\\."}, "times": {"type": "number"}}


TreeNode = Leaf | Branch | Distribution | Tied
"""A part of a parsed section."""


def to_plain(node: TreeNode) -> Json:
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, Distribution | Tied):
        return node.to_plain()
    items = [to_plain(item) for item in node.items]
    return items if node.keys is None else dict(zip(node.keys, items, strict=True))
