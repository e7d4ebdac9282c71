"""Groups trials that can be compared: same search seed, and if the design allows it the same other settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from raydarts.report.gather import Run, Searched
from raydarts.report.swept import Setting

_ENOUGH = 0.8  # of the trials must lie in blocks that hold several values of the setting


@dataclass(frozen=True)
class Blocking:
    """A block for each trial, the number of blocks, and what the trials of a block share, in words."""

    block: Sequence[Hashable]
    words: str

    @property
    def count(self) -> int:
        return len(set(self.block))


def blocks_for(run: Run, setting: Setting, searches: Sequence[Searched]) -> Blocking:
    """Returns the finest blocks in which `setting` still varies.

    It tries search seed and every other setting (a grid), then only search seed (random settings), then no blocks.
    Settings below an option of `setting` are part of its effect, so they make no blocks.
    """
    value = [repr(search.choices.get(setting.name)) for search in searches]
    others = [
        other.name for other in run.settings if other != setting and not other.name.startswith(f"{setting.name}[")
    ]
    seed = [repr(search.seed) for search in searches]
    full = [
        (seed_of, *(repr(search.choices.get(name)) for name in others))
        for seed_of, search in zip(seed, searches, strict=True)
    ]
    several = len(set(seed)) > 1
    if others and _varies(full, value):
        return Blocking(full, "blocks of equal search seed and other settings" if several else "blocks of equal others")
    if several and _varies(seed, value):
        return Blocking(seed, "blocks of equal search seed")
    return Blocking([0] * len(value), "no blocks")


def _varies(block: Sequence[Hashable], value: Sequence[str]) -> bool:
    held = defaultdict(set)
    for group, level in zip(block, value, strict=True):
        held[group].add(level)
    return sum(len(held[group]) > 1 for group in block) >= _ENOUGH * len(block)


def seed_blocks(searches: Sequence[Searched]) -> Blocking:
    """Returns blocks of equal search seed, for relations between two outcomes."""
    seeds = [repr(search.seed) for search in searches]
    if len(set(seeds)) < 2 or len(seeds) < 3 * len(set(seeds)):
        return Blocking([0] * len(seeds), "no blocks")
    return Blocking(seeds, "blocks of equal search seed")
