"""Settings that do nothing in their spec. Each section and member says why, and what to write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from pydantic import BaseModel

from raydarts.config.checks import ALL_COMBINATIONS
from raydarts.config.distributions import Tree, enumerate_draws
from raydarts.registry import Around, ByName, Component, Idle, Settings
from raydarts.search.phases import plan_stages
from raydarts.search.settings import SearchSettings


class _Walk:
    """Asks settings, everything nested in them, and the members chosen there."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self.asked: set[str] = set()
        """The dotted places of what was asked."""
        self.idle: dict[tuple[str, str], str] = {}
        """Why a key below a place does nothing."""

    def settings(self, settings: BaseModel, place: str) -> None:
        if isinstance(settings, Settings):
            self._note(place, settings.idle(self._around))
        for key in type(settings).model_fields:
            value = getattr(settings, key)
            if isinstance(value, tuple):
                for number, item in enumerate(value):
                    named = f"[{item.name}]" if isinstance(item, Component) else f".{number}"
                    self._value(item, f"{place}.{key}{named}")
            else:
                self._value(value, f"{place}.{key}")
        if isinstance(settings, ByName):
            for name, component in settings.chosen.items():
                self._value(component, f"{place}.{name}")

    def _value(self, value: object, place: str) -> None:
        if isinstance(value, Component):
            self._note(place, value.build().idle(self._around))
            self.settings(value.settings, place)
        elif isinstance(value, BaseModel):
            self.settings(value, place)

    def _note(self, place: str, idle: Iterable[Idle]) -> None:
        self.asked.add(place)
        for key, why in idle:
            self.idle.setdefault((place, key), why)


def idle_in(settings: BaseModel, place: str, around: Around) -> Iterator[str]:
    """Returns what does nothing in a section without distributions."""
    walk = _Walk(around)
    walk.settings(settings, place)
    yield from _sentences(walk.idle.items())


def idle_in_search(drawn: Iterable[SearchSettings], jobs: int, gpus: float) -> Iterator[str]:
    """Returns what does nothing in every configuration of a search that has it.

    A value without effect beside values with effect is a baseline and is not returned. `drawn` are all configurations,
    or a sample if they are many (`config.checks`).
    """
    walks = []
    for settings in drawn:
        stages = plan_stages([component.build() for component in settings.regularizers], settings.epochs)
        walk = _Walk(Around(settings, settings.epochs, max(stage.epochs for stage in stages), jobs, gpus))
        walk.settings(settings, "search")
        walks.append(walk)
    idle = {at: why for walk in reversed(walks) for at, why in walk.idle.items()}
    always = [(at, why) for at, why in idle.items() if all(at in walk.idle for walk in walks if at[0] in walk.asked)]
    yield from _sentences(always)


def _sentences(idle: Iterable[tuple[tuple[str, str], str]]) -> Iterator[str]:
    for (place, key), why in idle:
        yield f"{f'{place}.{key}' if key else place} {why}"


def distinct(tree: Tree, count: int) -> int | None:
    """Returns `count`, the number of different configurations, if that covers all there are. Else None."""
    if not all(dimension.distribution.is_finite for dimension in tree.distributions()):
        return None
    return None if sum(1 for _ in islice(enumerate_draws(tree), ALL_COMBINATIONS + 1)) > ALL_COMBINATIONS else count
