"""The environment of a process that a test starts."""

from __future__ import annotations

import os


def without_ray(*others: str) -> dict[str, str]:
    """Returns this process's variables without those of its own Ray, and without those that begin with `others`.

    The niceness stays: Ray gives its workers one of 15, with which they hardly run beside other tests.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name == "RAY_worker_niceness" or not name.startswith(("RAY_", *others))
    }
