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
from raydarts.config.distributions import AsDrawn, Dimension, FirstChooser, Tie, Tree, put
from raydarts.config.open_values import Distribution, OptionalItem, Options, Path, Value
from raydarts.json_types import Json
from raydarts.registry import Component, Settings
from raydarts.search.settings import SearchSettings

Mutation = list[Value] | Callable[[], Value]
"""What Ray Tune's schedulers take: a list of values, or a function that draws one."""
_NO_FIT = "shapes, parts or what was remembered would no longer fit"
LISTED = 1000
"""A distribution of at most so many numbers is a list of values: a change is to the next one."""


def why_fixed(search: Tree, dimension: Dimension) -> str | None:
    """Why a swept setting keeps its value while a search goes on. None: it may get another one."""
    distribution = dimension.distribution
    if isinstance(distribution, Options) and not distribution.is_even:
        return "its options have weights, and a change knows none: it is to the option before or after"
    if isinstance(distribution, OptionalItem):
        return _NO_FIT
    if isinstance(distribution, Options) and any(Tree(each, "").distributions() for each in distribution.options):
        return _NO_FIT
    for end in distribution.ends():
        draw = search.materialise(FirstChooser({**dimension.forced, dimension.name: end}))
        settings, path = check_draw(draw, []), draw.paths[dimension.name]
        if settings is None or not _is_live(settings, path) or _is_taken_over(settings, path):
            return _NO_FIT
    return next((why for tie in search.ties() if (why := _held_by(search, dimension, tie))), None)


def _held_by(search: Tree, dimension: Dimension, tie: Tie) -> str | None:
    """Why a tied value keeps a setting from changing. None: it does not."""
    if any(dimension.forced.get(name, index) != index for name, index in tie.forced.items()):
        return None  # no configuration has both
    for end in dimension.distribution.ends():
        draw = search.materialise(FirstChooser({**dimension.forced, **tie.forced, dimension.name: end}))
        settings = check_draw(draw, [])
        for path in [path for path, name in draw.ties.items() if name == dimension.name]:
            if settings is None or not _is_live(settings, path) or _is_taken_over(settings, path):
                return f"{tie.name} is tied to it, and cannot change"
    return None


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


def _is_taken_over(settings: SearchSettings, path: Path) -> bool:
    """Whether a regularizer of the search sets the setting itself while the search goes on."""
    acting = [each for each in settings.regularizers if each.effective() is not None]
    return any(path[0] in getattr(each.member, "KEEPS", ()) for each in acting)


class Perturbed:
    """Swept settings that a scheduler changes, each with its name and the values it may have.

    A value of `choice` or `grid` is the number of its option. What a configuration does not have, because it hangs
    under an option that was not chosen, is carried along without effect.
    """

    def __init__(self, search: Tree, dimensions: Iterable[Dimension]) -> None:
        self._search = search
        self._distributions = {each.name: each.distribution for each in dimensions}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._distributions)

    def values(self, choices: Mapping[str, object]) -> dict[str, Value]:
        """The values of a trial with these choices."""
        return {
            name: each.chosen(choices[name]) if name in choices else each.ends()[0]
            for name, each in self._distributions.items()
        }

    def mutations(self) -> dict[str, Mutation]:
        """The new values that each setting may get."""
        return {name: _mutation(each) for name, each in self._distributions.items()}

    def inside(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The nearest values that the distributions allow."""
        return {name: self._distributions[name].nearest(value) for name, value in values.items()}

    def applied(
        self, config: Mapping[str, object], choices: Mapping[str, object], values: Mapping[str, Value]
    ) -> tuple[dict[str, object], dict[str, object]]:
        """A trial's configuration and choices with these values in place of its own."""
        changed, there = copy.deepcopy(dict(config)), [name for name in self.names if name in choices]
        chosen = {**choices, **{name: self._distributions[name].recorded(values[name]) for name in there}}
        draw = self._search.materialise(AsDrawn(chosen))
        follow = [path for path, name in draw.ties.items() if name in there]
        for path in [*(draw.paths[name] for name in there), *follow]:
            put(changed, path, _at(draw.plain, path))
        return changed, chosen


def _at(plain: object, path: Path) -> Json:
    """The value of a configuration at a place."""
    for key in path:
        plain = _part(plain, key)
    return plain  # type: ignore[return-value] # a draw holds JSON


def _mutation(distribution: Distribution) -> Mutation:
    if distribution.is_even and distribution.count() <= LISTED:
        return distribution.values()
    return lambda: _drawn(distribution)


def _drawn(distribution: Distribution) -> Value:
    axis = distribution.axis
    if axis is None:
        raise TypeError(f"{distribution}: has no range to draw from")
    low, high = (math.log(axis.low), math.log(axis.high)) if axis.log else (axis.low, axis.high)
    place = random.uniform(low, high)
    place = math.exp(place) if axis.log else place
    return distribution.nearest(distribution.at(place))


def chosen(search: Tree, names: Sequence[str]) -> list[Dimension]:
    """The swept settings of these names; without names all that may change."""
    swept = search.distributions()
    return [each for each in swept if (each.name in names if names else why_fixed(search, each) is None)]
