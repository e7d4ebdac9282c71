"""The search-space language: every value, or every mapping, may be a distribution.

`open_values` and `open_numbers` have a class for each kind of distribution.

The tree is parsed once. *Materialising* it with a chooser gives one plain configuration. Only what is below a chosen
option is asked for. So the space is conditional, and one definition serves grid search, random search and Optuna
(define-by-run).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raydarts.config.open_numbers import LogUniform, Normal, Number, QLogUniform, QUniform, RandInt, Uniform
from raydarts.config.open_values import (
    Branch,
    Choice,
    Distribution,
    Grid,
    Leaf,
    OptionalItem,
    Options,
    Path,
    Tied,
    TreeNode,
    Value,
    to_plain,
)
from raydarts.config.source import Where
from raydarts.errors import Problem, SpecError
from raydarts.json_types import Json

OPTIONS: dict[str, type[Options]] = {kind.KIND: kind for kind in (Choice, Grid)}
NUMBERS: dict[str, type[Number]] = {
    kind.KIND: kind for kind in (Uniform, LogUniform, QUniform, QLogUniform, RandInt, Normal)
}
KINDS: dict[str, type[Distribution]] = {**OPTIONS, **NUMBERS}
FORMS: dict[str, type[Distribution] | type[Tied]] = {**KINDS, OptionalItem.KIND: OptionalItem, Tied.KIND: Tied}
"""What a mapping is where it has a key of this name: no settings, but an open or a tied value."""


def form_in(keys: Collection[str]) -> str | None:
    """Returns which of `FORMS` a mapping with these keys is. None: it is none."""
    forms = [key for key in keys if key in FORMS]
    if len(forms) != 1 or not {*keys} <= {forms[0], *FORMS[forms[0]].BESIDE}:
        return None
    return forms[0]


class Chooser(Protocol):
    def choose(self, name: str, distribution: Distribution) -> Value:
        """Returns the index of an option, or a number."""


@dataclass(frozen=True)
class Draw:
    """One configuration: `plain` data, the `choices` by name, and the (file, line) of each path.

    `paths` says at which path each choice acts, and `ties` which choice each tied path follows (None: a fixed value).
    `notes` are what a message about a path adds. `moved` says where an item of a list is written, if optional items
    before it are absent.
    """

    plain: dict[str, Json]
    choices: dict[str, Json]
    lines: dict[Path, Where] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    ties: dict[Path, str | None] = field(default_factory=dict)
    notes: dict[Path, str] = field(default_factory=dict)
    moved: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    def written(self, path: Path) -> tuple[str, ...]:
        """Returns where the value at a path is written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.moved:
                return (*self.moved[path[:length]], *map(str, path[length:]))
        return tuple(map(str, path))


@dataclass(frozen=True)
class Dimension:
    """A distribution by name. `forced` are the choices under which it exists. `condition` says so in words."""

    name: str
    distribution: Distribution
    forced: dict[str, int]
    condition: str | None


@dataclass(frozen=True)
class Tie:
    """A tied value by name, with where it is written, the choices under which it exists, and these in words."""

    name: str
    written: tuple[str, ...]
    tied: Tied
    forced: dict[str, int]
    condition: str | None


class FirstChooser:
    """Chooses the first option or the low end, except what `fixed` says."""

    def __init__(self, fixed: Mapping[str, Value] | None = None) -> None:
        self._fixed = fixed or {}

    def choose(self, name: str, distribution: Distribution) -> Value:
        return self._fixed.get(name, distribution.ends()[0])


class AsDrawn:
    """A chooser that repeats a draw. `choices` are `Draw.choices`: labels of options that are mappings, and values."""

    def __init__(self, choices: Mapping[str, Any]) -> None:
        self._choices = choices

    def choose(self, name: str, distribution: Distribution) -> Value:
        try:
            return distribution.chosen(self._choices[name])
        except KeyError:
            raise KeyError(name) from None


@dataclass(frozen=True)
class Tree:
    """A parsed section of a spec. `name` is the section's name."""

    root: TreeNode
    name: str

    def materialise(self, chooser: Chooser | None) -> Draw:
        """Returns one configuration. `chooser` may be None if nothing is open."""
        return _Built(chooser).draw(self)

    @property
    def is_constant(self) -> bool:
        return not self.distributions()

    def distributions(self) -> list[Dimension]:
        """Returns all distributions in the order of the YAML, each with its condition."""
        return [each for each in _open(self.root, self.name, (self.name,), {}, []) if isinstance(each, Dimension)]

    def ties(self) -> list[Tie]:
        """Returns all tied values in the order of the YAML."""
        return [each for each in _open(self.root, self.name, (self.name,), {}, []) if isinstance(each, Tie)]

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


class _Built:
    """One configuration while it is built. Tied values come last, when every other value is known."""

    def __init__(self, chooser: Chooser | None) -> None:
        self._chooser = chooser
        self._draw = Draw({}, {})
        self._values: dict[tuple[str, ...], Json | Tied] = {}
        """The single values by where they are written."""
        self._chosen: dict[tuple[str, ...], str] = {}
        """Which choice decides what is written there."""
        self._tied: dict[Path, tuple[str, ...]] = {}
        """Where the tied values of the configuration are, and where they are written."""

    def draw(self, tree: Tree) -> Draw:
        self._draw.plain.update(_section(self._build(tree.root, tree.name, (), ())))
        for path, written in self._tied.items():
            value, self._draw.ties[path] = self._followed(written)
            put(self._draw.plain, path, value)
        return self._draw

    def _followed(self, written: tuple[str, ...]) -> tuple[Json, str | None]:
        """Returns the value of what is written at a place, and the choice that decides on it."""
        value = self._values[written]
        if not isinstance(value, Tied):
            return value, self._chosen.get(written)
        other, name = self._followed(value.place)
        return value.of(other), name

    def _build(self, node: TreeNode, name: str, path: Path, written: tuple[str, ...]) -> Json:
        draw = self._draw
        draw.lines.setdefault(path, node.where)
        if isinstance(node, Leaf):
            self._values[written] = node.value
            return node.value
        if isinstance(node, Tied):
            self._values[written], self._tied[path] = node, written
            return None
        if isinstance(node, Branch) and node.keys is None:
            return self._list(node, name, path, written)
        if isinstance(node, Branch):
            return {
                str(key): self._build(item, inner, (*path, key), (*written, str(key)))
                for key, inner, item in node.parts(name)
            }
        chosen = self._choose(node, name, path, written)
        if node.note:
            draw.notes[path] = node.note
        if not isinstance(node, Options):
            self._values[written] = chosen
            return chosen
        option, label = node.options[int(chosen)], node.labels[int(chosen)]
        draw.lines[path] = option.where
        return self._build(option, f"{name}[{label}]", path, written)

    def _list(self, node: Branch, name: str, path: Path, written: tuple[str, ...]) -> list[Json]:
        built: list[Json] = []
        for key, inner, item in node.parts(name):
            place, source = (*path, len(built)), (*written, str(key))
            part, named = (item.item, f"{inner}[{item.labels[1]}]") if isinstance(item, OptionalItem) else (item, inner)
            if isinstance(item, OptionalItem) and self._choose(item, inner, place, source) == 0:
                del self._draw.paths[inner]
                continue
            if source != tuple(map(str, place)):
                self._draw.moved[place] = source
            built.append(self._build(part, named, place, source))
        return built

    def _choose(self, node: Distribution, name: str, path: Path, written: tuple[str, ...]) -> Value:
        if self._chooser is None:
            raise ValueError(f"{name} is left open, and nobody is there to choose")
        chosen = self._chooser.choose(name, node)
        self._draw.choices[name], self._draw.paths[name] = node.recorded(chosen), path
        self._chosen[written] = name
        return chosen


def put(plain: object, path: Path, value: Json) -> None:
    """Sets the value at a path of a configuration."""
    for key in path[:-1]:
        plain = plain[key]  # type: ignore[index] # a configuration has its paths
    plain[path[-1]] = value  # type: ignore[index]


def _open(
    node: TreeNode, name: str, written: tuple[str, ...], forced: dict[str, int], reported: list[str]
) -> Iterator[Dimension | Tie]:
    """Yields all distributions and tied values below a part, in the order of the YAML."""
    condition = " and ".join(reported) or None
    if isinstance(node, Branch):
        for key, inner, item in node.parts(name):
            yield from _open(item, inner, (*written, str(key)), forced, reported)
    elif isinstance(node, Tied):
        yield Tie(name, written, node, forced, condition)
    elif isinstance(node, Distribution):
        yield Dimension(name, node, forced, condition)
    if isinstance(node, Options):
        for index, (option, label) in enumerate(zip(node.options, node.labels, strict=True)):
            under = {**forced, name: index}
            yield from _open(option, f"{name}[{label}]", written, under, [*reported, f"{name} = {label}"])


def enumerate_draws(tree: Tree, *, ends: bool = False) -> Iterator[Draw]:
    """Yields the conditional cross product in the order of the YAML. The last distribution changes fastest.

    With `ends`, numeric distributions have only their two ends (for checking a spec).
    """
    script: list[tuple[int, int]] = []  # (position, how many) of each choice on the current path

    class Scripted:
        def __init__(self) -> None:
            self.depth = 0

        def choose(self, name: str, distribution: Distribution) -> Value:
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


def grid_refusals(tree: Tree) -> list[Problem]:
    """Returns the problems of a grid search: distributions of which it cannot try each value once."""
    return [
        Problem(*dimension.distribution.where, dimension.name, why)
        for dimension in tree.distributions()
        if (why := dimension.distribution.grid_refusal)
    ]


def grid_draws(tree: Tree) -> Iterator[Draw]:
    """Yields every combination. Raises `SpecError` if a distribution cannot be enumerated."""
    if problems := grid_refusals(tree):
        raise SpecError(problems)
    yield from enumerate_draws(tree)
