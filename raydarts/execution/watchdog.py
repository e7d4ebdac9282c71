"""Ends a trial's process when an epoch takes too long: a trial that hangs is then tried again as a lost one is."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable
from types import TracebackType

_EXIT_CODE = 75
_GRACE = 30.0  # seconds to write the note, or until a call that holds Python's lock is given up on


class Watchdog:
    """`with Watchdog(limit, note):` the work of one epoch. After `limit` seconds (None: never) `note()`, then the end.

    A thread ends the process, so it works while the work sleeps, waits for a lock, a socket or a GPU. Where the work
    never gives Python's lock back, or `note` itself hangs, faulthandler's own thread ends it 30 s later.
    """

    def __init__(self, limit: float | None, note: Callable[[], None]) -> None:
        self._limit = limit
        self._note = note
        self._timer: threading.Timer | None = None

    def __enter__(self) -> None:
        if self._limit is not None:
            self._timer = threading.Timer(self._limit, self._bark)
            self._timer.daemon = True
            self._timer.start()
            faulthandler.dump_traceback_later(self._limit + _GRACE, exit=True, file=2)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            faulthandler.cancel_dump_traceback_later()

    def _bark(self) -> None:
        try:
            faulthandler.dump_traceback(file=2)
            self._note()
        finally:
            os._exit(_EXIT_CODE)
