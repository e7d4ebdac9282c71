"""The time within which Ray must start: its servers, the connection and the first worker together."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from dataclasses import dataclass

from raydarts.errors import ClusterError

SECONDS = "RAYDARTS_START_SECONDS"
_DEFAULT = 45.0
EXIT_CODE = 2


def limit() -> float:
    """The seconds within which Ray must start. Raises `ClusterError`."""
    value = os.environ.get(SECONDS, "")
    try:
        seconds = float(value or _DEFAULT)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise ClusterError(f"{SECONDS}={value}: must be a number of seconds above 0 and below 1,000,000")
    return seconds


@dataclass(frozen=True)
class Deadline:
    """`seconds` after `begun`."""

    seconds: float
    begun: float

    @classmethod
    def begin(cls) -> Deadline:
        """The limit, counted from now. Raises `ClusterError` where the user's limit is no number."""
        return cls(limit(), time.monotonic())

    def left(self) -> float:
        """The seconds left, at least 0."""
        return max(0.0, self.begun + self.seconds - time.monotonic())


class _Event(ctypes.Structure):
    """`struct sigevent` of Linux: call `function(value)` in a thread."""

    _fields_ = (
        ("value", ctypes.c_int),
        ("unused", ctypes.c_int),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("rest", ctypes.c_char * 40),
    )


class _Times(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("again", "again_ns", "first", "first_ns"))


_MONOTONIC, _IN_A_THREAD = 1, 2


class ExitTimer:
    """Ends this process with exit code 2 after some seconds, by the operating system's own timer.

    A thread of Python cannot: Ray keeps Python's lock while it waits in C++. Elsewhere than on Linux it does nothing;
    the process of `leftovers.py` then ends the driver by a signal.
    """

    def __init__(self, seconds: float) -> None:
        self._timer = ctypes.c_void_p()
        self._library: ctypes.CDLL | None = None
        if not sys.platform.startswith("linux"):
            return
        library = ctypes.CDLL(None)
        if not hasattr(library, "timer_create"):  # a C library of before 2021
            return
        event = _Event(value=EXIT_CODE, notify=_IN_A_THREAD)
        event.function = ctypes.cast(library._exit, ctypes.c_void_p).value
        times = _Times(first=int(seconds), first_ns=int(seconds % 1 * 1e9))
        if library.timer_create(_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)) == 0:
            self._library = library
            library.timer_settime(self._timer, 0, ctypes.byref(times), None)

    def cancel(self) -> None:
        """Let the process live."""
        library, self._library = self._library, None
        if library is not None:
            library.timer_delete(self._timer)
