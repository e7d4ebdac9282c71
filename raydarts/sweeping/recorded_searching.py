"""Searchers over recorded configurations: what a searcher proposes, and which recorded configuration is run for it.

docs/replay.md says what is done. A searcher that fits no model runs recorded configurations in random order. One that
fits a model proposes settings in a space made of the recorded ones, and the nearest recorded configuration is run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeGuard

from raydarts.config.distributions import NUMBERS, Tree
from raydarts.config.loader import LoadedSpec
from raydarts.config.open_values import Branch, Choice, Distribution, Leaf
from raydarts.config.retraining import Stages
from raydarts.config.seeds import fits_a_model, tries_all
from raydarts.config.source import Where
from raydarts.config.spec import SweepSettings
from raydarts.data.settings import DataSettings
from raydarts.errors import InputError
from raydarts.json_types import Json
from raydarts.runs.recordings import Configuration
from raydarts.searchers.base import Searcher
from raydarts.storage.files import plain
from raydarts.study.study import Outcome, Proposal

MOST_OPTIONS = 12
"""A setting with more recorded numbers than this is searched as a range, one with fewer as a choice of them."""
_LOG_SPAN = 50
"""A range of positive numbers whose ends differ by more than this factor is searched by its logarithm."""
_WHERE: Where = ("recorded configurations", 0)
_ABSENT = "(absent)"


class Chooses(Protocol):
    """Which recorded configuration each proposal runs."""

    def total(self) -> int:
        """How many configurations are proposed."""

    def choose(self, index: int) -> tuple[int, Mapping[str, Json]] | None:
        """The number of the recorded configuration for proposal `index`, and what was proposed. None: there are no
        more."""

    def tell(self, index: int, outcome: Outcome) -> None:
        """The configuration has ended."""


class InOrder:
    """A searcher that fits no model: recorded configurations in the order given, the first `total` of them."""

    def __init__(self, order: Sequence[int], total: int, settings: Settings) -> None:
        self._order = order
        self._total = total
        self._settings = settings

    def total(self) -> int:
        return self._total

    def choose(self, index: int) -> tuple[int, Mapping[str, Json]] | None:
        if index >= self._total:
            return None
        return self._order[index], self._settings.values[self._order[index]]

    def tell(self, index: int, outcome: Outcome) -> None:
        """Nothing is learned."""


class ByModel:
    """A searcher that fits a model, on a space made of the recorded settings."""

    def __init__(self, searcher: Searcher, sweep: SweepSettings, settings: Settings) -> None:
        self._searcher = searcher
        self._settings = settings
        tree = settings.tree()
        searcher.start(LoadedSpec("replay", "", DataSettings(), tree, sweep, Stages(), "", ""))

    def total(self) -> int:
        return self._searcher.total()

    def choose(self, index: int) -> tuple[int, Mapping[str, Json]] | None:
        draw = self._searcher.propose(index)
        if draw is None:
            return None
        return self._settings.nearest(draw.plain), plain(draw.choices)

    def tell(self, index: int, outcome: Outcome) -> None:
        self._searcher.tell(index, outcome)


@dataclass(frozen=True)
class Settings:
    """The settings in which recorded configurations differ, by dotted names. `values[i]`: those of configuration i."""

    values: tuple[Mapping[str, Json], ...]

    @classmethod
    def of(cls, configurations: Sequence[Configuration]) -> Settings:
        flat = [dict(_flat(each.config, "")) for each in configurations]
        names = dict.fromkeys(name for each in flat for name in each)
        differing = [name for name in names if len({_text(each.get(name, _ABSENT)) for each in flat}) > 1]
        return cls(tuple({name: each.get(name, _ABSENT) for name in differing} for each in flat))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.values[0])

    def tree(self) -> Tree:
        """The space of the recorded settings: a choice of the recorded values, or a range of numbers."""
        items = tuple(self._distribution(name) for name in self.names)
        return Tree(Branch(self.names, items, _WHERE), "search")

    @cached_property
    def _recorded(self) -> Mapping[str, list[Json]]:
        """The values of each setting, numbers first and in order."""
        known = {name: {_text(each[name]): each[name] for each in self.values} for name in self.names}
        return {
            name: sorted(values.values(), key=lambda value: (not _is_number(value), value if _is_number(value) else 0))
            for name, values in known.items()
        }

    @cached_property
    def _ends(self) -> Mapping[str, tuple[float, float]]:
        """The least and the largest number of each setting that has two."""
        numbers = {name: [value for value in values if _is_number(value)] for name, values in self._recorded.items()}
        return {name: (float(each[0]), float(each[-1])) for name, each in numbers.items() if len(each) > 1}

    def _distribution(self, name: str) -> Distribution:
        values = self._recorded[name]
        if len(values) <= MOST_OPTIONS or not all(_is_number(value) for value in values):
            labels = tuple(value if isinstance(value, str) else json.dumps(value) for value in values)
            options = tuple(Leaf(value, _WHERE) for value in values)
            return Choice(_WHERE, options, labels)
        low, high = self._ends[name]
        return NUMBERS[self._kind(name)].of((low, high), _WHERE)

    def _kind(self, name: str) -> str:
        values = self._recorded[name]
        low, high = self._ends[name]
        if low > 0 and high / low > _LOG_SPAN:
            return "loguniform"
        return "randint" if all(isinstance(value, int) for value in values) else "uniform"

    def nearest(self, proposed: Mapping[str, Json]) -> int:
        """The configuration that lies nearest to a proposal. Of equally near ones the first.

        Numbers are as far apart as their share of the recorded range, by logarithm where the setting is searched so;
        other values are equal (0) or not (1). The distances of the settings are added.
        """
        exact = self._places.get(_text([proposed[name] for name in self.names]))
        if exact is not None:
            return exact
        return min(range(len(self.values)), key=lambda index: (self._distance(self.values[index], proposed), index))

    @cached_property
    def _places(self) -> Mapping[str, int]:
        """The first configuration with each combination of values."""
        known: dict[str, int] = {}
        for index, each in enumerate(self.values):
            known.setdefault(_text([each[name] for name in self.names]), index)
        return known

    def _distance(self, one: Mapping[str, Json], other: Mapping[str, Json]) -> float:
        return sum(self._apart(name, one[name], other[name]) for name in self.names)

    def _apart(self, name: str, one: Json, other: Json) -> float:
        if one == other:
            return 0.0
        if name not in self._ends or not _is_number(one) or not _is_number(other):
            return 1.0
        low, high = self._ends[name]
        if low > 0 and high / low > _LOG_SPAN:
            return float(abs(math.log(one / other)) / math.log(high / low))
        return float(abs(one - other) / (high - low))


def _flat(value: object, name: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, plain(value)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def refusals(sweep: SweepSettings, settings: Settings) -> list[str]:
    """Why a replay cannot use this searcher on these configurations, in words."""
    searcher: Searcher = sweep.searcher.build()
    count = len(settings.values)
    if fits_a_model(sweep.searcher):
        if not settings.names:
            return [f"searcher {sweep.searcher.name} fits a model, and there is one recorded configuration"]
        return list(searcher.refusals(settings.tree()))
    trials = getattr(searcher.settings, "trials", None)
    if trials is not None and not tries_all(sweep.searcher) and trials > count:
        return [
            f"trials is {trials}, and {count} configurations were recorded; a replay runs each at most once "
            f"(allowed: at most {count})"
        ]
    return []


def chooser(sweep: SweepSettings, settings: Settings, order: Sequence[int]) -> Chooses:
    """The searcher of a sweep, over recorded configurations."""
    searcher: Searcher = sweep.searcher.build()
    if fits_a_model(sweep.searcher):
        return ByModel(searcher, sweep, settings)
    trials = None if tries_all(sweep.searcher) else getattr(searcher.settings, "trials", None)
    return InOrder(order, len(order) if trials is None else int(trials), settings)


class RecordedProposer:
    """The searcher of a study. Each proposal is a recorded configuration; `chosen` has their numbers in order.

    `seeds[i]` is the search seed of configuration i where the sweep has no replicates.
    """

    def __init__(self, chooses: Chooses, configurations: Sequence[Configuration], seeds: Sequence[int]) -> None:
        self._chooses = chooses
        self._configurations = configurations
        self._seeds = seeds
        self.chosen: list[int] = []

    def total(self) -> int:
        return self._chooses.total()

    def propose(self, index: int) -> Proposal | None:
        answer = self._chooses.choose(index)
        if answer is None:
            return None
        number, choices = answer
        if index < len(self.chosen):
            raise InputError(f"configuration {index} was proposed before")
        self.chosen.append(number)
        return Proposal(choices, {**self._configurations[number].config, "seed": self._seeds[number]})

    def tell(self, index: int, outcome: Outcome) -> None:
        self._chooses.tell(index, outcome)
