"""Where trials and configurations stand among those alike: by their score, or on the fronts of several objectives."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from raydarts.study.configurations import Configuration
from raydarts.study.objectives import SearchScore
from raydarts.study.pareto import Place, places
from raydarts.study.results import TrialRecord

Name = TypeVar("Name", bound=Hashable)
Tier = tuple[int, int, int]
Key = tuple[Tier, tuple[float, ...]]
"""Orders what a search came to: completed, then stopped by epochs reached, without a score last; then by the score.

With several objectives the score is the front, the crowding distance on it, and then the first objective.
"""
NOWHERE = Place(sys.maxsize, 0.0)
"""Of a trial without one of the figures."""


def tier(status: str, epochs: int, value: float | None) -> Tier:
    """Orders what comes before the score."""
    stopped = status == "stopped"
    return (int(stopped), -epochs if stopped else 0, int(value is None))


def places_within(
    entries: Iterable[tuple[Name, Hashable, tuple[float, ...] | None]], score: SearchScore
) -> dict[Name, Place]:
    """The place of each entry among those of its tier. An entry: a name, a tier, and a number for each objective.

    Entries without numbers have no place.
    """
    tiers: dict[Hashable, list[tuple[Name, tuple[float, ...]]]] = {}
    for name, of_tier, numbers in entries:
        if numbers is not None:
            tiers.setdefault(of_tier, []).append((name, score.costs(numbers)))
    return {
        name: place
        for alike in tiers.values()
        for (name, _), place in zip(alike, places([point for _, point in alike]), strict=True)
    }


class Standings:
    """The order of trials, and of configurations. `groups` are the configurations of `records`."""

    def __init__(self, records: Sequence[TrialRecord], groups: Sequence[Configuration], score: SearchScore) -> None:
        self._score = score
        self._group = {record.id: group for group in groups for record in group.trials}
        self._of_trials: dict[str, Place] = {}
        self._of_groups: dict[str, Place] = {}
        if score.several:
            ended = [record for record in records if record.status in ("completed", "stopped")]
            self._of_trials = places_within(
                (
                    (each.id, (bool(score.against(each.judged)), tier(each.status, each.epochs, 0)), each.orders(score))
                    for each in ended
                ),
                score,
            )
            self._of_groups = places_within(
                ((group.name, tier(group.status, group.epochs, 0), group.orders) for group in groups), score
            )

    def key(self, record: TrialRecord) -> tuple[object, ...]:
        """Orders trials, the best first. Those of a configuration stay together."""
        own = self._key(record.status, record.epochs, record.order(self._score), self._of_trials.get(record.id))
        group = self._group.get(record.id)
        if group is None:
            return (*own, record.id)
        shared = self._key(group.status, group.epochs, group.order, self._of_groups.get(group.name))
        return (*shared, group.name, *own, record.id)

    def _key(self, status: str, epochs: int, value: float | None, place: Place | None) -> Key:
        rank = math.inf if value is None else -self._score.sign * value
        front = (place or NOWHERE).key if self._score.several else ()
        return tier(status, epochs, value), (*front, rank)

    def place(self, record: TrialRecord) -> Place | None:
        """Where a trial stands with several objectives, in a run with replicates where its configuration does.

        None: there is one objective, or a figure is not there.
        """
        group = self._group.get(record.id)
        return self._of_trials.get(record.id) if group is None else self._of_groups.get(group.name)
