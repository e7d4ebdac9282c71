"""Which settings of a search a scheduler may change while its trials run, and what values they may get.

A setting may change if it is swept, and if whoever owns it says so (`Settings.may_change`). A scheduler of Ray Tune's
sees the values of these settings alone, by their names.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from raydarts.config.checks import check_draw
from raydarts.config.distributions import OPTIONS, Dimension, Distribution, FirstChooser, Leaf, Path, Tree, to_plain
from raydarts.json_types import Json
from raydarts.registry import Component, Settings
from raydarts.search.settings import SearchSettings

Mutation = list[int | float] | Callable[[], int | float]
"""What Ray Tune's schedulers take: a list of values, or a function that draws one."""
LISTED = 1000
"""A distribution of at most so many numbers is a list of values: a change is to the next one."""


def may_change(search: Tree, dimension: Dimension) -> bool:
    """Whether a swept setting may get another of its values between two epochs of a search."""
    distribution = dimension.distribution
    if any(Tree(option, "").distributions() for option in distribution.options):
        return False
    for end in distribution.ends():
        settings = check_draw(search.materialise(FirstChooser({**dimension.forced, dimension.name: end})), [])
        if settings is None or not _is_live(settings, dimension.path) or _is_taken_over(settings, dimension.path):
            return False
    return True


def _is_live(settings: Settings, path: Path) -> bool:
    """Whether the owner of the setting at `path` says that it may change."""
    node: object = settings
    for key in path:
        owner = node.settings if isinstance(node, Component) else node
        node = _part(owner, key)
        if isinstance(node, Settings | Component):
            continue
        if isinstance(owner, Settings) and not (
            isinstance(node, tuple) and any(isinstance(i, Component) for i in node)
        ):
            return key in owner.may_change()
    return False  # a whole section or member


def _part(owner: object, key: str | int) -> object:
    """A part of settings, of a mapping or of a list."""
    if isinstance(owner, Mapping):
        return owner[key]
    if isinstance(owner, Sequence) and isinstance(key, int):
        return owner[key]
    return getattr(owner, str(key))


def _put(config: object, path: Path, value: Json) -> None:
    """Set one value of a configuration."""
    place = path[0]
    if len(path) > 1:
        _put(_part(config, place), path[1:], value)
        return
    if isinstance(config, list) and isinstance(place, int):
        config[place] = value
        return
    if not isinstance(config, dict):
        raise TypeError(f"{place}: the configuration has no place of this name")
    config[place] = value


def _is_taken_over(settings: SearchSettings, path: Path) -> bool:
    """Whether a regularizer of the search sets the setting itself while the search goes on."""
    acting = [each for each in settings.regularizers if each.effective() is not None]
    return any(path[0] in getattr(each.member, "KEEPS", ()) for each in acting)


class Perturbed:
    """Swept settings that a scheduler changes, each with its name and the values it may have.

    A value of `choice` or `grid` is the number of its option. What a configuration does not have, because it hangs
    under an option that was not chosen, is carried along without effect.
    """

    def __init__(self, dimensions: Iterable[Dimension]) -> None:
        self._dimensions = {each.name: each for each in dimensions}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._dimensions)

    def values(self, choices: Mapping[str, object]) -> dict[str, int | float]:
        """The values of a trial with these choices."""
        return {
            name: _value(each.distribution, choices[name]) if name in choices else each.distribution.ends()[0]
            for name, each in self._dimensions.items()
        }

    def mutations(self) -> dict[str, Mutation]:
        """The new values that each setting may get."""
        return {name: _mutation(each.distribution) for name, each in self._dimensions.items()}

    def inside(self, values: Mapping[str, int | float]) -> dict[str, int | float]:
        """The nearest values that the distributions allow."""
        return {name: _inside(self._dimensions[name].distribution, value) for name, value in values.items()}

    def applied(
        self, config: Mapping[str, object], choices: Mapping[str, object], values: Mapping[str, int | float]
    ) -> tuple[dict[str, object], dict[str, object]]:
        """A trial's configuration and choices with these values in place of its own."""
        changed, chosen = copy.deepcopy(dict(config)), dict(choices)
        for name, each in self._dimensions.items():
            if name not in choices:
                continue
            plain, chosen[name] = _written(each.distribution, values[name])
            _put(changed, each.path, plain)
        return changed, chosen


def _value(distribution: Distribution, choice: object) -> int | float:
    """A recorded choice as a value."""
    if distribution.kind in OPTIONS:
        return next(
            number for number in range(len(distribution.options)) if _written(distribution, number)[1] == choice
        )
    if not isinstance(choice, int | float):
        raise TypeError(f"{choice!r}: is no value of {distribution}")
    return choice


def _written(distribution: Distribution, value: int | float) -> tuple[Json, Json]:
    """A value as it stands in a configuration, and among the choices."""
    if distribution.kind not in OPTIONS:
        return value, value
    option = distribution.options[int(value)]
    plain = to_plain(option)
    return plain, plain if isinstance(option, Leaf) else distribution.labels[int(value)]


def _mutation(distribution: Distribution) -> Mutation:
    if distribution.is_finite and distribution.count() <= LISTED:
        return distribution.values()
    return lambda: _drawn(distribution)


def _drawn(distribution: Distribution) -> int | float:
    low, high = distribution.low, distribution.high
    if distribution.kind == "loguniform":
        return _inside(distribution, math.exp(random.uniform(math.log(low), math.log(high))))
    return _inside(distribution, random.uniform(low, high))


def _inside(distribution: Distribution, value: int | float) -> int | float:
    if distribution.kind in OPTIONS:
        return value
    if not distribution.is_finite:
        return min(max(value, distribution.low), distribution.high)
    step = 1.0 if distribution.kind == "randint" else distribution.q
    position = round((value - distribution.low) / step)
    return distribution.value(min(max(position, 0), distribution.count() - 1))


def chosen(search: Tree, names: Sequence[str]) -> list[Dimension]:
    """The swept settings of these names; without names all that may change."""
    swept = search.distributions()
    return [each for each in swept if each.name in names] if names else [e for e in swept if may_change(search, e)]
