"""Large libraries, loaded without Python's garbage collector. It looks through all their objects again and again, and
frees none of them: a tenth of the time in which torch is loaded, and half a second when a command ends."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """No garbage is collected while inside. What is there afterwards is not looked through again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def end_quickly() -> None:
    """When this process ends, do not look through its objects for garbage: their memory goes with it."""
    atexit.register(gc.freeze)
