"""The search-space language: every value, or every mapping, may be a distribution.

    choice: [a, b, ...]        one of the options, which may be mappings with distributions of their own
    grid: [a, b, ...]          the same, for a grid search
    uniform: [low, high]       a number between
    loguniform: [low, high]    its logarithm is uniform; low > 0
    quniform: [low, high, q]   low, low + q, low + 2q, ... up to high
    randint: [low, high]       a whole number; both ends included

The tree is parsed once. *Materialising* it with a chooser gives one plain configuration. Only what is below a chosen
option is asked for. So the space is conditional, and one definition serves grid search, random search and Optuna
(define-by-run).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raydarts.config.source import Where
from raydarts.errors import Problem, SpecError, shortened
from raydarts.json_types import Json

OPTIONS = ("choice", "grid")
NUMERIC = {"uniform": 2, "loguniform": 2, "quniform": 3, "randint": 2}
"""How many numbers each kind takes."""
KINDS = (*OPTIONS, *NUMERIC)
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Leaf:
    value: Json
    where: Where


@dataclass(frozen=True)
class Branch:
    """A mapping (`keys` set) or a list (`keys` None)."""

    keys: tuple[str, ...] | None
    items: tuple[TreeNode, ...]
    where: Where


@dataclass(frozen=True)
class Distribution:
    """An open value. `choice` and `grid` have `options` and their unique `labels`, the others `low`, `high` and `q`."""

    kind: str
    where: Where
    options: tuple[TreeNode, ...] = ()
    labels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    q: float = 0.0

    @property
    def is_finite(self) -> bool:
        return self.kind not in ("uniform", "loguniform")

    def count(self) -> int:
        """Returns how many values a finite distribution has."""
        if self.kind in OPTIONS:
            return len(self.options)
        if self.kind == "randint":
            return int(self.high) - int(self.low) + 1
        return math.floor((self.high - self.low) / self.q + 1e-9) + 1

    def value(self, position: int) -> int | float:
        """Returns one value of a finite distribution: the index for options."""
        if self.kind in OPTIONS:
            return position
        return int(self.low) + position if self.kind == "randint" else float(f"{self.low + position * self.q:.12g}")

    def values(self) -> list[int | float]:
        """Returns every value of a finite distribution, in order."""
        return [self.value(position) for position in range(self.count())]

    def ends(self) -> list[int | float]:
        """Returns the values that bound all others: every option, or the two ends."""
        if self.kind in OPTIONS:
            return self.values()
        return [self.value(0), self.value(self.count() - 1)] if self.is_finite else [self.low, self.high]

    def __str__(self) -> str:
        if self.kind in OPTIONS:
            return f"{self.kind}: {', '.join(shortened(label, 200) for label in self.labels)}"
        numbers = [self.low, self.high, *([self.q] if self.kind == "quniform" else [])]
        return f"{self.kind}: {', '.join(f'{number:g}' for number in numbers)}"


TreeNode = Leaf | Branch | Distribution
"""A part of a parsed section."""


class Chooser(Protocol):
    def choose(self, name: str, distribution: Distribution) -> int | float:
        """Returns the index of an option, or a number."""


@dataclass(frozen=True)
class Draw:
    """One configuration: `plain` data, the `choices` by name, and the (file, line) of each path."""

    plain: dict[str, Json]
    choices: dict[str, Json]
    lines: dict[Path, Where] = field(default_factory=dict)


@dataclass(frozen=True)
class Dimension:
    """A distribution by name. `forced` are the choices under which it exists. `condition` says so in words.

    `path` leads to its value in a configuration.
    """

    name: str
    distribution: Distribution
    forced: dict[str, int]
    condition: str | None
    path: Path


class FirstChooser:
    """Chooses the first option or the low end, except what `fixed` says."""

    def __init__(self, fixed: Mapping[str, int | float] | None = None) -> None:
        self._fixed = fixed or {}

    def choose(self, name: str, distribution: Distribution) -> int | float:
        return self._fixed.get(name, distribution.ends()[0])


class AsDrawn:
    """A chooser that repeats a draw. `choices` are `Draw.choices`: labels of options that are mappings, and values."""

    def __init__(self, choices: Mapping[str, Json]) -> None:
        self._choices = choices

    def choose(self, name: str, distribution: Distribution) -> Any:
        chosen = self._choices[name]
        if distribution.kind not in OPTIONS:
            return chosen
        for index, (option, label) in enumerate(zip(distribution.options, distribution.labels, strict=True)):
            if json.dumps(option.value if isinstance(option, Leaf) else label) == json.dumps(chosen):
                return index
        raise KeyError(name)


@dataclass(frozen=True)
class Tree:
    """A parsed section of a spec. `name` is the section's name."""

    root: TreeNode
    name: str

    def materialise(self, chooser: Chooser | None) -> Draw:
        """Returns one configuration. `chooser` may be None if nothing is open."""
        draw = Draw({}, {}, {})
        draw.plain.update(_section(_build(self.root, self.name, (), chooser, draw)))
        return draw

    @property
    def is_constant(self) -> bool:
        return not self.distributions()

    def distributions(self) -> list[Dimension]:
        """Returns all distributions in the order of the YAML, each with its condition."""
        return list(_dimensions(self.root, self.name, {}, [], ()))

    def variations(self) -> Iterator[Draw]:
        """Returns the first values of all, then each option or end of each distribution with the others at their first
        value.
        """
        yield self.materialise(FirstChooser())
        for dimension in self.distributions():
            for value in dimension.distribution.ends():
                yield self.materialise(FirstChooser({**dimension.forced, dimension.name: value}))

    def to_plain(self) -> dict[str, Json]:
        """Returns the YAML form. It parses to the same tree."""
        return _section(to_plain(self.root))


def _section(plain: Json) -> dict[str, Json]:
    """Returns the plain form of a section: `parse_tree` makes trees of mappings only."""
    if not isinstance(plain, Mapping):
        raise TypeError("a section is a mapping of keys")
    return dict(plain)


def _build(node: TreeNode, name: str, path: Path, chooser: Chooser | None, draw: Draw) -> Json:
    draw.lines.setdefault(path, node.where)
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, Branch):
        keys: tuple[str | int, ...] = tuple(range(len(node.items))) if node.keys is None else node.keys
        built = [
            _build(item, f"{name}.{key}", (*path, key), chooser, draw)
            for key, item in zip(keys, node.items, strict=True)
        ]
        return built if node.keys is None else dict(zip(node.keys, built, strict=True))
    if chooser is None:
        raise ValueError(f"{name} is left open, and nobody is there to choose")
    chosen = chooser.choose(name, node)
    if node.kind not in OPTIONS:
        draw.choices[name] = chosen
        return chosen
    option, label = node.options[int(chosen)], node.labels[int(chosen)]
    draw.choices[name] = option.value if isinstance(option, Leaf) else label
    draw.lines[path] = option.where
    return _build(option, f"{name}[{label}]", path, chooser, draw)


def _dimensions(
    node: TreeNode, name: str, forced: dict[str, int], reported: list[str], path: Path
) -> Iterator[Dimension]:
    if isinstance(node, Branch):
        keys: Iterable[str | int] = range(len(node.items)) if node.keys is None else node.keys
        for key, item in zip(keys, node.items, strict=True):
            yield from _dimensions(item, f"{name}.{key}", forced, reported, (*path, key))
    elif isinstance(node, Distribution):
        yield Dimension(name, node, forced, " and ".join(reported) or None, path)
        for index, (option, label) in enumerate(zip(node.options, node.labels, strict=True)):
            yield from _dimensions(
                option, f"{name}[{label}]", {**forced, name: index}, [*reported, f"{name} = {label}"], path
            )


def to_plain(node: TreeNode) -> Json:
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, Branch):
        items = [to_plain(item) for item in node.items]
        return items if node.keys is None else dict(zip(node.keys, items, strict=True))
    if node.kind in OPTIONS:
        return {node.kind: [to_plain(option) for option in node.options]}
    numbers = [node.low, node.high, *([node.q] if node.kind == "quniform" else [])]
    return {node.kind: [int(number) for number in numbers] if node.kind == "randint" else numbers}


def enumerate_draws(tree: Tree, *, ends: bool = False) -> Iterator[Draw]:
    """Yields the conditional cross product in the order of the YAML. The last distribution changes fastest.

    With `ends`, numeric distributions have only their two ends (for checking a spec).
    """
    script: list[tuple[int, int]] = []  # (position, how many) of each choice on the current path

    class Scripted:
        def __init__(self) -> None:
            self.depth = 0

        def choose(self, name: str, distribution: Distribution) -> int | float:
            if self.depth == len(script):
                script.append((0, len(distribution.ends()) if ends else distribution.count()))
            position = script[self.depth][0]
            self.depth += 1
            return distribution.ends()[position] if ends else distribution.value(position)

    while True:
        yield tree.materialise(Scripted())
        while script and script[-1][0] + 1 == script[-1][1]:
            script.pop()
        if not script:
            return
        script[-1] = (script[-1][0] + 1, script[-1][1])


def refuse_continuous(tree: Tree) -> list[Problem]:
    """Returns the problems of a grid search: distributions that cannot be enumerated."""
    return [
        Problem(
            *dimension.distribution.where,
            dimension.name,
            f"a grid cannot enumerate {dimension.distribution.kind}; write grid: [values], "
            "or use sweep.searcher random or optuna",
        )
        for dimension in tree.distributions()
        if not dimension.distribution.is_finite
    ]


def grid_draws(tree: Tree) -> Iterator[Draw]:
    """Yields every combination. Raises `SpecError` if a distribution cannot be enumerated."""
    if problems := refuse_continuous(tree):
        raise SpecError(problems)
    yield from enumerate_draws(tree)
