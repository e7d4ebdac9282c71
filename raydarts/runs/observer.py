"""Who watches a job from outside: told of every epoch and of the end, and never able to harm it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Observer(Protocol):
    """Told what already lies on disk. No call raises, and none takes longer than the observer's own bound."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """A metrics row was written."""

    def finished(self, result: Mapping[str, Any]) -> None:
        """The trial's result.json was written by this process: completed or failed."""

    def close(self) -> None:
        """This process lets go of the trial. Without `finished` before: a scheduler stopped it, or it goes on later."""


class Observers:
    """Several as one; none at all where nobody watches."""

    def __init__(self, each: Sequence[Observer] = ()) -> None:
        self._each = tuple(each)

    def epoch(self, row: Mapping[str, Any]) -> None:
        for one in self._each:
            one.epoch(row)

    def finished(self, result: Mapping[str, Any]) -> None:
        for one in self._each:
            one.finished(result)

    def close(self) -> None:
        for one in self._each:
            one.close()
