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
    Options,
    Path,
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


def kind_in(keys: Collection[str]) -> str | None:
    """Returns which kind of distribution a mapping with these keys is. None: it is none."""
    kinds = [key for key in keys if key in KINDS]
    if len(kinds) != 1 or not {*keys} <= {kinds[0], *KINDS[kinds[0]].BESIDE}:
        return None
    return kinds[0]


class Chooser(Protocol):
    def choose(self, name: str, distribution: Distribution) -> Value:
        """Returns the index of an option, or a number."""


@dataclass(frozen=True)
class Draw:
    """One configuration: `plain` data, the `choices` by name, the (file, line) of each path, and the path at which
    each choice acts.
    """

    plain: dict[str, Json]
    choices: dict[str, Json]
    lines: dict[Path, Where] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    notes: dict[Path, str] = field(default_factory=dict)
    """What a message about the value at a path adds."""


@dataclass(frozen=True)
class Dimension:
    """A distribution by name. `forced` are the choices under which it exists. `condition` says so in words."""

    name: str
    distribution: Distribution
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
        draw = Draw({}, {})
        draw.plain.update(_section(_build(self.root, self.name, (), chooser, draw)))
        return draw

    @property
    def is_constant(self) -> bool:
        return not self.distributions()

    def distributions(self) -> list[Dimension]:
        """Returns all distributions in the order of the YAML, each with its condition."""
        return list(_dimensions(self.root, self.name, {}, []))

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
        built = [_build(item, inner, (*path, key), chooser, draw) for key, inner, item in node.parts(name)]
        return built if node.keys is None else dict(zip(node.keys, built, strict=True))
    if chooser is None:
        raise ValueError(f"{name} is left open, and nobody is there to choose")
    chosen = chooser.choose(name, node)
    draw.choices[name], draw.paths[name] = node.recorded(chosen), path
    if node.note:
        draw.notes[path] = node.note
    if not isinstance(node, Options):
        return chosen
    option, label = node.options[int(chosen)], node.labels[int(chosen)]
    draw.lines[path] = option.where
    return _build(option, f"{name}[{label}]", path, chooser, draw)


def _dimensions(node: TreeNode, name: str, forced: dict[str, int], reported: list[str]) -> Iterator[Dimension]:
    if isinstance(node, Branch):
        for _, inner, item in node.parts(name):
            yield from _dimensions(item, inner, forced, reported)
    elif isinstance(node, Distribution):
        yield Dimension(name, node, forced, " and ".join(reported) or None)
    if isinstance(node, Options):
        for index, (option, label) in enumerate(zip(node.options, node.labels, strict=True)):
            yield from _dimensions(
                option, f"{name}[{label}]", {**forced, name: index}, [*reported, f"{name} = {label}"]
            )


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
