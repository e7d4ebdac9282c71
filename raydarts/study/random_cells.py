"""Random cells among the genotypes of a stage: the baseline of a search, and never its answer.

The decision and the trial.json of a random cell have `random_cell: true`. Those of a discovered genotype have no such
key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

RANDOM_CELL = "random_cell"
Entry = TypeVar("Entry", bound=Mapping[str, object])


def random_cell(
    name: str,
    genotype: Mapping[str, object],
    skips: Mapping[str, int],
    number: int,
    drawn: int,
    asked: int,
    seed: int,
) -> dict[str, object]:
    """Returns the decision by which a random cell enters a stage. It counts as promoted: it is retrained."""
    fewer = "" if drawn == asked else f" ({asked} were asked for, and no more distinct healthy cells could be drawn)"
    return {
        "id": name,
        "genotype": genotype,
        "trials": [],
        "skips": skips,
        RANDOM_CELL: True,
        "promoted": True,
        "reason": f"random cell {number} of {drawn}{fewer}: a healthy cell of the same space and size, drawn with "
        f"sweep seed {seed}; the baseline, not among top_k",
    }


def is_random(entry: Mapping[str, object]) -> bool:
    return entry.get(RANDOM_CELL) is True


def discovered(entries: Iterable[Entry]) -> list[Entry]:
    """Returns the entries of genotypes that searches ended with, or that were given."""
    return [entry for entry in entries if not is_random(entry)]


def only_random(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if is_random(entry)]


def mark(entry: Mapping[str, object]) -> dict[str, object]:
    """Returns the mark that a trial.json takes over from its decision."""
    return {RANDOM_CELL: True} if is_random(entry) else {}
