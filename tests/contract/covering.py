"""A few searches of several remedies each, in which every pair of remedies that may be combined meets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

Pair = frozenset[str]
MOST = 6
"""Remedies in one search: more would save little, and make the guilty pair harder to find."""


def covering(keys: Sequence[str], pairs: Iterable[Pair], together: Callable[[Sequence[str]], bool]) -> list[list[str]]:
    """Groups of at most `MOST` keys that hold every pair of `pairs`; each group is one that `together` allows.

    Greedy: a group begins with a pair not yet met, and takes the key that meets most of its keys for the first time.
    """
    allowed = set(pairs)
    left = dict.fromkeys(sorted(allowed, key=sorted))  # a set with an order, so that groups are the same
    groups = []
    while left:
        group = sorted(next(iter(left)))
        refused: set[str] = set()
        while len(group) < MOST:
            gains = {
                key: sum(Pair((key, member)) in left for member in group)
                for key in keys
                if key not in group and key not in refused and all(Pair((key, member)) in allowed for member in group)
            }
            best = max(gains, key=lambda key: gains[key], default=None)
            if best is None or gains[best] == 0:
                break
            if together([*group, best]):
                group.append(best)
            else:
                refused.add(best)
        for one, other in combinations(group, 2):
            left.pop(Pair((one, other)), None)
        groups.append(group)
    return groups


def guilty(group: Sequence[str], fails: Callable[[Sequence[str]], str | None]) -> str:
    """Which pairs of a group that failed do so by themselves, and how."""
    found = {f"{one} + {other}": fails([one, other]) for one, other in combinations(group, 2)}
    told = [f"{pair}: {error}" for pair, error in found.items() if error is not None]
    return "; ".join(told) or f"no two of {', '.join(group)} by themselves"
