"""A tracker: shows a run elsewhere while it goes on. It never stops the run, and the run never waits long for it.

raydarts makes every call of a tracker in a thread beside the run, and waits for it a bounded time (`aside.py`). So a
tracker may simply call its service. Whatever it raises, or does not finish in time, becomes one warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard

from raydarts.registry import Member
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.storage.place import Place
from raydarts.study.results import NOT_SCALAR


class TrialObserver:
    """Shows one trial. A subclass overrides what it needs; no method does anything by default.

    `seconds`: how long the end of the trial waits for the calls that are still to be made. `lost_seconds`: how long it
    then waits for `lost`.
    """

    seconds: float = 10.0
    lost_seconds: float = 10.0

    def open(self) -> None:
        """The first call. What may take long belongs here, not into `__init__`: `lost` is called for it."""

    def epoch(self, row: Mapping[str, object]) -> None:
        """Shows the metrics of one epoch.

        Every process that runs the trial passes all epochs from the first one on. So after a resume the tracker sees
        the epochs of before again, and either writes anew or skips what it has.
        """

    def finished(self, result: Mapping[str, object]) -> None:
        """Shows the end: `result` is what result.json holds, of a completed or of a failed trial."""

    def close(self) -> None:
        """The last call in this process. Without `finished` before it the trial was stopped, or it goes on later."""

    def lost(self, reason: str) -> str | None:
        """Called once, in place of all further calls, after a call raised or did not end in time.

        Saves what can be saved without the service. Returns what the user is told; None: nothing.
        """
        return reason


class Tracker(Member):
    """Shows a run elsewhere. Made anew from its settings in the driver and in each trial's process.

    `seconds`: how long each call of `check`, `begin` and `conclude` is waited for.
    """

    seconds: float = 10.0

    def check(self, place: Place) -> None:
        """Raises `InputError` where the tracker cannot work for a run at `place`. Called before the run is made."""

    def begin(self, run: RunDirectory) -> str | None:
        """Called when a driver starts or resumes the run. Returns what the user is told; None: nothing."""
        return None

    def observer(self, trial: TrialDirectory) -> TrialObserver | None:
        """Returns what shows this trial, in the process that runs it; None: it is not shown."""
        return None

    def conclude(self, run: RunDirectory) -> str | None:
        """Called when all trials of the run ended. Returns what the user is told; None: nothing."""
        return None


Scalar = str | bool | int | float


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Whether a value is a finite number or a word."""
    return isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value))


def scalars(row: Mapping[str, object]) -> dict[str, Scalar]:
    """The entries of a metrics row that are shown under their own name: finite numbers and words."""
    return {key: value for key, value in row.items() if key not in NOT_SCALAR and is_scalar(value)}
