"""How long to wait for a storage that is away for a short time, and what to raise if it stays away."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

from raydarts.errors import InputError, StorageError

logger = logging.getLogger("raydarts")
T = TypeVar("T")

SECONDS = "RAYDARTS_STORAGE_RETRY_SECONDS"
"""Environment variable: for how long an operation is tried again. 0: never."""
_DEFAULT_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_NAMES = (
    "EIO ESTALE ENOSPC EDQUOT ETIMEDOUT EAGAIN EBUSY ENOTCONN ENODEV ENXIO EREMOTEIO EHOSTDOWN EHOSTUNREACH ENETDOWN "
    "ENETUNREACH ENETRESET ECONNREFUSED ECONNRESET ECONNABORTED EPIPE"
)
_PASSING = {getattr(errno, name) for name in _NAMES.split(" ") if hasattr(errno, name)}
_REFUSALS = (
    "ACCESS_DENIED",
    "NO_SUCH_BUCKET",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "INVALID_CLIENT_TOKEN_ID",
    "MISSING_AUTHENTICATION_TOKEN",
    "HTTP status 400",
    "HTTP status 401",
    "HTTP status 403",
    "PERMISSION_DENIED",
    "Permission denied",
    "UNAUTHENTICATED",
)


def seconds() -> float:
    """Returns `RAYDARTS_STORAGE_RETRY_SECONDS`, or 60. Raises `InputError` if it is no number >= 0."""
    text = os.environ.get(SECONDS)
    if text is None:
        return _DEFAULT_SECONDS
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{SECONDS}={text}: a number of seconds is needed, 0 or more")
    return value


def passing(error: OSError) -> bool:
    """Returns whether waiting may help.

    It may for a full disk, an I/O error, or an unreachable server. It does not for a missing file or a missing right.
    """
    if isinstance(error, StorageError):
        return False
    if error.errno is not None:
        return error.errno in _PASSING
    return not any(word in str(error) for word in _REFUSALS)  # pyarrow's errors of object stores carry no errno


def patiently(act: Callable[[], T], where: object) -> T:
    """Calls `act()` again, with growing pauses, while its error may pass. Raises `StorageError` if it does not pass.

    Calling `act` twice must do no harm.
    """
    limit = seconds()
    began, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        try:
            return act()
        except OSError as error:
            if not passing(error):
                raise
            left = limit - (time.monotonic() - began)
            if left <= 0:
                raise StorageError(
                    f"{where}: the storage does not answer as it should ({error}), and did not for {limit:g} s "
                    f"({SECONDS} says how long to try); what was reported before stays. Free or mend it, then go on "
                    "with: raydarts resume RUN"
                ) from error
            if pause == _FIRST_PAUSE:
                logger.warning("%s: %s; trying again for up to %g s", where, error, limit)
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
