"""Makes the calls of a tracker in a thread beside the run, so that nothing that hangs or fails there harms the run."""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from raydarts.runs.directory import TrialDirectory
from raydarts.trackers.base import TrialObserver

logger = logging.getLogger("raydarts")

T = TypeVar("T")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|NETRC", re.IGNORECASE)
_SHORTEST_SECRET = 8
_LONGEST_ERROR = 300


def scrub(text: str) -> str:
    """`text` without what looks like a key, and without the values of environment variables that sound secret."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, f"[{name}]")
    return re.sub(r"\b[0-9a-fA-F]{40,}\b|wandb_v\d+_\w+", "[key]", text)


def words(error: BaseException) -> str:
    """An error as one line without secrets."""
    if isinstance(error, LateError):
        return str(error)
    return scrub(f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST_ERROR]}")


class LateError(Exception):
    """A call did not end in time. Its thread is left to itself."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it did not answer within {seconds:g} s")


class Call(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        self._call = call
        self._result: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"raydarts-{name}")
        self._thread.start()

    def _work(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:  # a tracker's error is not the run's
            self._error = error

    def result(self, seconds: float) -> T:
        """What the call returned or raised. Raises `LateError` where it does not end within `seconds`."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise LateError(seconds)
        if self._error is not None:
            raise self._error
        return self._result[0]


class Aside:
    """An observer of a trial (`raydarts.runs.observer`) that passes each call on to a tracker's in a thread.

    `make` makes the tracker's observer, in that thread too. Epochs never wait. The end of the trial waits as long as
    the tracker's observer says; where it is not there yet, for `seconds`.
    """

    def __init__(
        self, name: str, trial: TrialDirectory, make: Callable[[], TrialObserver | None], seconds: float
    ) -> None:
        self._name = name
        self._id = trial.id
        self._make = make
        self._seconds = seconds
        self._waiting: queue.SimpleQueue[Callable[[TrialObserver], None] | None] = queue.SimpleQueue()
        self._observer: TrialObserver | None = None
        self._error: Exception | None = None
        self._made = threading.Event()
        self._ended = False
        for row in trial.rows():
            self.epoch(row)
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"raydarts-{name}")
        self._thread.start()

    def _work(self) -> None:
        try:
            self._observer = self._make()
            self._made.set()
            if self._observer is not None:
                self._observer.open()
                while (call := self._waiting.get()) is not None:
                    call(self._observer)
        except Exception as error:  # a tracker's error is not the trial's
            self._error = error
        finally:
            self._made.set()

    def epoch(self, row: Mapping[str, object]) -> None:
        if not self._ended and self._error is None:
            self._waiting.put(lambda observer: observer.epoch(row))

    def finished(self, result: Mapping[str, object]) -> None:
        self._waiting.put(lambda observer: observer.finished(result))
        self.close()

    def close(self) -> None:
        """Waits until the tracker has everything, or gives it up."""
        if self._ended:
            return
        self._ended = True
        self._waiting.put(lambda observer: observer.close())
        self._waiting.put(None)
        if not self._made.wait(self._seconds):
            self._error = LateError(self._seconds)
        elif self._observer is not None:
            self._thread.join(self._observer.seconds)
            if self._thread.is_alive():
                self._error = LateError(self._observer.seconds)
        if self._error is not None and (warning := self._lost(words(self._error))):
            logger.warning("%s: tracker %s: %s", self._id, self._name, warning)

    def _lost(self, reason: str) -> str | None:
        observer = self._observer
        if observer is None:
            return reason
        try:
            return Call(lambda: observer.lost(reason), self._name).result(observer.lost_seconds)
        except Exception as error:
            return f"{reason}; then {words(error)}"
