"""Checks which settings cannot be combined in one search, and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raydarts import outside
from raydarts.errors import InputError
from raydarts.registry import Component, Member, members
from raydarts.search.phases import plan_stages
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Task

_OF_KIND = {"augment": "image", "text": "text"}
"""Settings for only one kind of data."""

Place = tuple[str | int, ...]
Refusal = tuple[Place, str]
"""The place in the settings, and what is wrong there."""


def refusals(settings: SearchSettings) -> list[Refusal]:
    """Returns every conflict of these settings: between members, with a missing companion, with the space."""
    return [*_of_remedies(settings), *_of_companions(settings), *_of_the_space(settings)]


def refusals_of_data(settings: SearchSettings, kind: str, name: str) -> list[Refusal]:
    """Returns everything that does not fit data of this kind.

    Args:
        kind: the kind of the data, as `Task.KIND`.
        name: what messages call the data.
    """
    takes = _kind(settings.space.member)
    problems: list[Refusal] = []
    if takes != kind:
        alike = ", ".join(other for other, member in members("space").items() if _kind(member) == kind)
        message = f"{settings.space.name} is for {takes} data, and {name} is {kind} (spaces for {kind}: {alike})"
        problems.append((("space",), message))
    for key, keys in _OF_KIND.items():
        default = type(settings).model_fields[key].default
        if keys != kind and getattr(settings, key) != default:
            problems.append(((key,), f"is for {keys}, and {name} is {kind}: leave {key} out"))
    return problems


def _kind(space: type[Member]) -> str:
    """Returns the kind of data that a space is for."""
    task: type[Task] = getattr(space, "TASK")  # noqa: B009 - every space has one
    return task.KIND


def require_composable(settings: SearchSettings) -> None:
    """Raises `InputError` that lists every conflict."""
    _raise(refusals(settings))


def require_fitting(settings: SearchSettings, kind: str, name: str) -> None:
    """Raises `InputError` if the settings do not fit data of this kind."""
    _raise(refusals_of_data(settings, kind, name))


def _raise(problems: list[Refusal]) -> None:
    if problems:
        raise InputError("; ".join(f"search.{'.'.join(map(str, place))}: {message}" for place, message in problems))


def _of_remedies(settings: SearchSettings) -> Iterator[Refusal]:
    taken: dict[str, str] = {}
    names: set[str] = set()
    for index, component in enumerate(settings.regularizers):
        place = ("regularizers", index)
        if component.name in names:
            yield place, f"{component.name} stands twice; each remedy acts at most once"
        names.add(component.name)
        for setting in getattr(component.member, "OVERRIDES", ()):
            if taken.setdefault(setting, component.name) != component.name:
                yield place, f"{taken[setting]} and {component.name} both set {setting}; choose one of them"


def _components(settings: SearchSettings) -> list[tuple[Place, Component]]:
    components: list[tuple[Place, Component]] = []
    for key in type(settings).model_fields:
        value = getattr(settings, key)
        if isinstance(value, Component):
            components.append(((key,), value))
        elif isinstance(value, tuple):
            components += [((key, index), item) for index, item in enumerate(value) if isinstance(item, Component)]
    return components


def _of_companions(settings: SearchSettings) -> Iterator[Refusal]:
    """Returns the conflicts by `REQUIRES` and `CONFLICTS`.

    A member at its NEUTRAL setting does nothing. It needs no companion and disturbs no other member.
    """
    acting = [(place, component) for place, component in _components(settings) if component.effective() is not None]
    chosen = {f"{component.family}:{component.name}" for _, component in acting}
    for place, component in acting:
        for requirement in component.member.REQUIRES:
            family, _, names = requirement.partition(":")
            if not any(f"{family}:{name}" in chosen for name in names.split("|")):
                yield place, f"{component.name} needs the {family} {names.replace('|', ' or ')}"
        for conflict, reason in component.member.CONFLICTS.items():
            family, _, names = conflict.partition(":")
            for name in names.split("|"):
                if f"{family}:{name}" in chosen:
                    yield place, f"{component.name} cannot be combined with the {family} {name}: {reason}"


def _of_the_space(settings: SearchSettings) -> Iterator[Refusal]:
    space = settings.space.build()
    if space.outside_name is not None:  # who allows a space allows the primitives that its code names
        outside.allow(space.outside_primitives())
    remedies: list[Regularizer] = [component.build() for component in settings.regularizers]

    def asked(check: Callable[..., object], *arguments: object) -> str | None:
        try:
            check(*arguments)
        except InputError as error:
            return str(error)
        return None

    if any(probe.name == "cell_facts" for probe in settings.probes) and (message := asked(getattr, space, "kinds")):
        yield ("space",), f"{message}, or leave the probe cell_facts out of search.probes"
    if message := asked(settings.selection.build().check, space):
        yield ("selection",), message
    sound = True
    for index, remedy in enumerate(remedies):
        if message := asked(remedy.check, space, settings.epochs):
            sound = False
            yield ("regularizers", index), message
    if sound and (message := asked(plan_stages, remedies, settings.epochs)):
        yield ("regularizers",), message
