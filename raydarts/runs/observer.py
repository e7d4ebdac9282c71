"""Who watches a job from outside: told of every epoch and of the end, and never able to harm it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

logger = logging.getLogger("raydarts")


class Observer(Protocol):
    """Told what already lies on disk. No call takes longer than the observer's own bound."""

    def epoch(self, row: Mapping[str, object]) -> None:
        """A metrics row was written."""

    def finished(self, result: Mapping[str, object]) -> None:
        """The trial's result.json was written by this process: completed or failed."""

    def close(self) -> None:
        """This process lets go of the trial. Without `finished` before: a scheduler stopped it, or it goes on later."""


class Observers:
    """Several as one; none at all where nobody watches. One that raises is told nothing more, and harms nobody."""

    def __init__(self, each: Sequence[Observer] = ()) -> None:
        self._each = list(each)

    def epoch(self, row: Mapping[str, object]) -> None:
        self._tell(lambda one: one.epoch(row))

    def finished(self, result: Mapping[str, object]) -> None:
        self._tell(lambda one: one.finished(result))

    def close(self) -> None:
        self._tell(lambda one: one.close())
        self._each.clear()

    def _tell(self, say: Callable[[Observer], None]) -> None:
        for one in tuple(self._each):
            try:
                say(one)
            except Exception as error:  # the job goes on
                logger.warning("%s gave up: %s: %s", type(one).__name__, type(error).__name__, error)
                self._each.remove(one)
