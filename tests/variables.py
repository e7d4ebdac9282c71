"""The environment of a process that a test starts."""

from __future__ import annotations

import os


def without_ray(*others: str) -> dict[str, str]:
    """Returns this process's variables without those of its own Ray, and without those that begin with `others`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", *others))}
