"""How much memory is free for this process and those that it starts.

Docker, Kubernetes, Slurm and systemd give a process a share of the machine's memory: the limit of a control group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from raydarts.cgroups import groups, lines_of


@dataclass(frozen=True)
class FreeMemory:
    """`bytes` that are free, and `of`: whose they are, in words."""

    bytes: int
    of: str


def free_memory(root: Path = Path("/"), machine: Callable[[], int] | None = None) -> FreeMemory:
    """What this process may still use. `root`, `machine`: where `/proc` and `/sys` lie, and the machine's free bytes;
    tests have their own.
    """
    free = FreeMemory((machine or _of_the_machine)(), "this machine")
    for folder in groups(root, "memory"):
        left = _left(folder)
        if left is not None and left < free.bytes:
            free = FreeMemory(left, "this process's control group")
    return free


def _of_the_machine() -> int:
    return int(psutil.virtual_memory().available)


_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""The limit, what is used, and what of that is files the system lets go of. In both versions of control groups."""


def _left(folder: Path) -> int | None:
    """What a group has left. None: it has no limit."""
    for limit, used, files in _FILES:
        most, now = _number(folder / limit), _number(folder / used)
        if most is not None and now is not None:
            return max(0, most - now + _entry(folder / "memory.stat", files))
    return None


def _number(file: Path) -> int | None:
    text = "".join(lines_of(file)).strip()
    return int(text) if text.isdecimal() else None  # `max`: no limit


def _entry(file: Path, name: str) -> int:
    pairs = (line.split() for line in lines_of(file))
    return next((int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] == name), 0)
