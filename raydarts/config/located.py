"""Finds a configuration in a search space: which option of each choice it takes, and its numbers.

A configuration is what stands under `search` with a value at each open place. It may leave out what is not open. It may
also be complete, as a trial of an earlier run keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import Any

from raydarts.config.checks import check_draw
from raydarts.config.distributions import Draw, Tree
from raydarts.config.open_numbers import Number
from raydarts.config.open_values import (
    Branch,
    Distribution,
    Leaf,
    OptionalItem,
    Options,
    Path,
    Tied,
    TreeNode,
    Value,
    to_plain,
)
from raydarts.errors import shortened
from raydarts.registry import nearest

_MOST = 2000
"""How many ways to read a configuration are tried."""


@dataclass(frozen=True)
class Misfit:
    """Why a configuration is not of the space. `path` is the place in the configuration."""

    path: Path
    message: str


class _Absent:
    """Stands for what a configuration does not say."""


_ABSENT = _Absent()
Choices = dict[str, Value]
"""By the name of each distribution: the index of an option, or a number."""


@dataclass
class _Fits:
    """The ways in which a part of a configuration fits a part of the space. `misfits` say why there is none."""

    ways: list[Choices]
    misfits: list[Misfit]


class Fixed:
    """A chooser that chooses what it is given, by name."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices

    def choose(self, name: str, distribution: Distribution) -> Value:
        return self._choices[name]


def located(tree: Tree, configuration: Mapping[str, object]) -> Draw | list[Misfit]:
    """Returns the draw of the space that is this configuration, or why there is none."""
    fits = _fit(tree.root, tree.name, configuration, ())
    if not fits.ways:
        return fits.misfits
    matching: dict[str, Draw] = {}
    misfits: list[Misfit] = []
    for way in fits.ways:
        draw = tree.materialise(Fixed(way))
        settings = check_draw(draw, [])
        if settings is None:
            continue
        whole = settings.model_dump(mode="json")
        differing = list(differences(configuration, whole))
        if not differing:
            matching.setdefault(json.dumps(whole, sort_keys=True), draw)
        misfits = misfits or differing
    if len(matching) == 1:
        return next(iter(matching.values()))
    if matching:
        one, other, *_ = matching.values()
        names = [name for name in one.choices if one.choices[name] != other.choices.get(name)]
        return [Misfit((), f"is more than one configuration of the space: say more of {', '.join(names[:3])}")]
    return misfits or [Misfit((), "is no valid configuration")]


def differences(part: object, whole: object, path: Path = ()) -> Iterable[Misfit]:
    """Yields what `part` says and `whole` does not. A text stands for a mapping of that name."""
    if isinstance(part, str) and isinstance(whole, Mapping) and "name" in whole:
        part = {"name": part}
    if isinstance(part, Mapping) and isinstance(whole, Mapping):
        for key, value in part.items():
            if key in whole:
                yield from differences(value, whole[key], (*path, key))
            else:
                hint = nearest(str(key), [str(each) for each in whole])
                yield Misfit((*path, key), f"is no setting here{hint} (there are: {', '.join(map(str, whole))})")
    elif isinstance(part, list | tuple) and isinstance(whole, list | tuple) and len(part) == len(whole):
        for index, (value, other) in enumerate(zip(part, whole, strict=True)):
            yield from differences(value, other, (*path, index))
    elif not _equal(part, whole):
        yield Misfit(path, f"is {_shown(part)}, and in this space it is {_shown(whole)}")


def _equal(one: object, other: object) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _shown(value: object) -> str:
    return "not said" if value is _ABSENT else shortened(json.dumps(value), 80)


def _fit(node: TreeNode, name: str, value: object, path: Path) -> _Fits:
    if isinstance(node, Leaf):
        if value is _ABSENT or _equal(value, node.value) or _is_named(value, node.value):
            return _Fits([{}], [])
        return _Fits([], [Misfit(path, f"is {_shown(value)}, and in this space it is {_shown(node.value)}")])
    if isinstance(node, Tied):
        return _Fits([{}], [])  # what it says is compared later, when the other place is known
    if isinstance(node, Branch):
        return _fit_branch(node, name, value, path)
    if isinstance(node, Options):
        return _fit_option(node, name, value, path)
    if isinstance(node, Number):
        return _fit_number(node, name, value, path)
    raise TypeError(f"{name}: no configuration can be compared with a {type(node).__name__}")


def _is_named(value: object, name: object) -> bool:
    """Whether a mapping is the member `name`. What else it says is compared later, with the settings."""
    return isinstance(value, Mapping) and isinstance(name, str) and value.get("name") == name


def _fit_branch(node: Branch, name: str, value: object, path: Path) -> _Fits:
    if node.keys is None:
        return _fit_list(node, name, value, path)
    if isinstance(value, str) and "name" in node.keys:
        value = {"name": value}
    if value is not _ABSENT and not isinstance(value, Mapping):
        message = f"is {_shown(value)}, and in this space it is {_shown(to_plain(node))}"
        return _Fits([], [Misfit(path, message)])
    known = value if isinstance(value, Mapping) else {}
    return _all_of([_fit(item, inner, known.get(key, _ABSENT), (*path, key)) for key, inner, item in node.parts(name)])


def _fit_list(node: Branch, name: str, value: object, path: Path) -> _Fits:
    """Fits a list. With optional items it tries each way to leave some of them out."""
    parts = [(inner, item) for _, inner, item in node.parts(name)]
    optional = [index for index, (_, item) in enumerate(parts) if isinstance(item, OptionalItem)]
    count = len(parts) if isinstance(value, _Absent) else len(value) if isinstance(value, list | tuple) else -1
    absent = len(parts) - count
    if not 0 <= absent <= len(optional):
        least = len(parts) - len(optional)
        wanted = f"a list of {len(parts)}" if not optional else f"a list of {least} to {len(parts)}"
        return _Fits([], [Misfit(path, f"is {_shown(value)}, and in this space it is {wanted}")])
    ways: list[Choices] = []
    misfits: list[Misfit] = []
    for left_out in islice(combinations(optional, absent), _MOST):
        given = iter(enumerate(value)) if isinstance(value, list | tuple) else iter(())
        fits = []
        for index, (inner, item) in enumerate(parts):
            if index in left_out:
                fits.append(_Fits([{inner: 0}], []))
                continue
            at, each = next(given, (index, _ABSENT))
            fits.append(_fit(item, inner, each, (*path, at)))
        whole = _all_of(fits)
        ways += whole.ways
        misfits = misfits or whole.misfits
    return _Fits(ways[:_MOST], []) if ways else _Fits([], misfits)


def _all_of(fits: list[_Fits]) -> _Fits:
    """The ways in which all parts fit at once."""
    misfits = [misfit for each in fits for misfit in each.misfits if not each.ways]
    if misfits:
        return _Fits([], misfits)
    ways = product(*(each.ways for each in fits))
    return _Fits([{key: way for part in whole for key, way in part.items()} for whole in islice(ways, _MOST)], [])


def _fit_option(node: Options, name: str, value: object, path: Path) -> _Fits:
    allowed = f"allowed: {node}"
    if isinstance(node, OptionalItem) and value is not _ABSENT:
        fits = _fit(node.item, f"{name}[{node.labels[1]}]", value, path)
        return _Fits([{name: 1, **way} for way in fits.ways], fits.misfits)
    if value is _ABSENT and not any(isinstance(option, Branch) and option.keys for option in node.options):
        return _Fits([], [Misfit(path, f"is left open in search and has no value here; {allowed}")])
    ways: list[Choices] = []
    near: list[Misfit] = []
    for index, (option, label) in enumerate(zip(node.options, node.labels, strict=True)):
        fits = _fit(option, f"{name}[{label}]", value, path)
        ways += [{name: index, **way} for way in fits.ways]
        if not fits.ways and _same_name(option, value):
            near = near or fits.misfits
    if ways:
        return _Fits(ways[:_MOST], [])
    return _Fits([], near or [Misfit(path, f"is {_shown(value)}, which is no option; {allowed}")])


def _same_name(option: TreeNode, value: object) -> bool:
    """Whether an option is of the members that the configuration names. Its misfits are then the ones to report."""
    names = _names(to_plain(option))
    return bool(names) and names == _names(value)


def _names(value: object) -> Any:
    """The name of a member, or the names of a list of them; empty if there is none."""
    if isinstance(value, list | tuple):
        return tuple(_names(item) for item in value)
    name = value.get("name") if isinstance(value, Mapping) else value
    return name if isinstance(name, str) else ""


def _fit_number(node: Number, name: str, value: object, path: Path) -> _Fits:
    allowed = f"allowed: {node}"
    if value is _ABSENT:
        return _Fits([], [Misfit(path, f"is left open in search and has no value here; {allowed}")])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _Fits([], [Misfit(path, f"is {_shown(value)}, which is no number; {allowed}")])
    if why := node.misfit(value):
        return _Fits([], [Misfit(path, f"is {_shown(value)}, which is {why}; {allowed}")])
    return _Fits([{name: node.nearest(value) if node.is_finite else float(value)}], [])
