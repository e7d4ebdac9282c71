"""How many trials of a search share a process, and which of them cannot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from raydarts.search import fused
from raydarts.search.settings import SearchSettings

Fuse = Literal["auto", "off"] | int

MOST = 8
"""Trials in one process at most under `auto`. With more a small search gains little more, and a larger one nothing."""


def lanes_of(fuse: Fuse, trials: int, places: int, at_a_time: int | None = None) -> int:
    """How many trials share a process at most. There are `places` processes, and `at_a_time` trials run at most.

    `auto` lets no process wait for the sake of fuller groups.
    """
    if fuse == "off" or trials <= 0:
        return 1
    at_a_time = trials if at_a_time is None else min(trials, at_a_time)
    spread = math.ceil(at_a_time / places)
    return max(1, min(MOST, spread) if fuse == "auto" else min(fuse, at_a_time))


def any_fusable(drawn: Sequence[SearchSettings]) -> bool:
    """Whether any configuration can share a process with others."""
    return any(not fused.unfusable(settings) for settings in drawn)


def reasons(drawn: Sequence[SearchSettings]) -> list[str]:
    """Why configurations run alone: a sentence for each reason. `drawn`: all of them, or a sample if they are many."""
    counts = Counter(reason for settings in drawn for reason in fused.unfusable(settings))
    return [
        f"{'all' if count == len(drawn) else 'some'} configurations run alone: {reason}"
        for reason, count in counts.items()
    ]
