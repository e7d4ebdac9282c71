"""Every configuration a spec can give, checked: by the settings' own types, and one part against another."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from typing import Any

from raydarts.config.distributions import Distribution, Draw, Tree, enumerate_draws
from raydarts.config.validation import check, where_of
from raydarts.errors import InputError, Problem
from raydarts.registry import Component
from raydarts.search.settings import SearchSettings
from raydarts.search.stages import plan_stages

ALL_COMBINATIONS = 2000
SAMPLED_COMBINATIONS = 300


def check_draw(draw: Draw, problems: list[Problem]) -> SearchSettings | None:
    settings = check(SearchSettings, draw.plain, draw.lines, "search", problems)
    if settings is not None:
        _check_regularizers(settings, draw, problems)
        _check_requirements(settings, draw, problems)
        _check_in_space(settings, draw, problems)
    return settings


def _check_in_space(settings: SearchSettings, draw: Draw, problems: list[Problem]) -> None:
    """Whether selection and remedies make sense in the space."""
    space = settings.space.build()

    def ask(path: tuple[str | int, ...], check: Callable[..., Any], *arguments: Any) -> None:
        try:
            check(*arguments)
        except InputError as error:
            problems.append(Problem(*where_of(path, draw.lines), ".".join(map(str, ("search", *path))), str(error)))

    ask(("selection",), settings.selection.build().check, space)
    before, regularizers = len(problems), [component.build() for component in settings.regularizers]
    for index, regularizer in enumerate(regularizers):
        ask(("regularizers", index), regularizer.check, space, settings.epochs)
    if len(problems) == before:
        ask(("regularizers",), plan_stages, regularizers, settings.epochs)


def _check_regularizers(settings: SearchSettings, draw: Draw, problems: list[Problem]) -> None:
    taken: dict[str, str] = {}
    names: set[str] = set()
    for index, component in enumerate(settings.regularizers):
        place = ("regularizers", index)
        if component.name in names:
            message = f"{component.name} stands twice; each remedy acts at most once"
            problems.append(Problem(*where_of(place, draw.lines), f"search.regularizers.{index}", message))
        names.add(component.name)
        for setting in getattr(component.member, "OVERRIDES", ()):
            if taken.setdefault(setting, component.name) != component.name:
                message = f"{taken[setting]} and {component.name} both set {setting}; choose one of them"
                problems.append(Problem(*where_of(place, draw.lines), f"search.regularizers.{index}", message))


def _components(settings: SearchSettings) -> list[tuple[tuple[str | int, ...], Component]]:
    found: list[tuple[tuple[str | int, ...], Component]] = []
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, Component):
            found.append(((key,), value))
        elif isinstance(value, tuple):
            found += [((key, index), item) for index, item in enumerate(value) if isinstance(item, Component)]
    return found


def _check_requirements(settings: SearchSettings, draw: Draw, problems: list[Problem]) -> None:
    components = _components(settings)
    acting = [(path, component) for path, component in components if component.effective() is not None]
    chosen = {f"{component.family}:{component.name}" for _, component in acting}
    for path, component in acting:
        for requirement in component.member.REQUIRES:
            family, _, names = requirement.partition(":")
            if not any(f"{family}:{name}" in chosen for name in names.split("|")):
                message = f"{component.name} needs the {family} {names.replace('|', ' or ')}"
                problems.append(Problem(*where_of(path, draw.lines), ".".join(map(str, ("search", *path))), message))
        for conflict, reason in component.member.CONFLICTS.items():
            family, _, names = conflict.partition(":")
            for name in names.split("|"):
                if f"{family}:{name}" in chosen:
                    message = f"{component.name} cannot be combined with the {family} {name}: {reason}"
                    where = where_of(path, draw.lines)
                    problems.append(Problem(*where, ".".join(map(str, ("search", *path))), message))


class _EndsChooser:
    """Any of the options, or either end."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator

    def choose(self, name: str, distribution: Distribution) -> Any:
        return self._generator.choice(distribution.ends())


def check_all(tree: Tree, problems: list[Problem]) -> list[SearchSettings]:
    """Check every configuration where they are few, else each option of each distribution by itself and a sample."""
    draws = list(islice(enumerate_draws(tree, ends=True), ALL_COMBINATIONS + 1))
    if len(draws) > ALL_COMBINATIONS:
        draws = list(tree.variations())
        chooser = _EndsChooser(random.Random(0))
        draws += [tree.materialise(chooser) for _ in range(SAMPLED_COMBINATIONS)]
    return [settings for draw in draws if (settings := check_draw(draw, problems)) is not None]
