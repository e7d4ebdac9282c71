"""The searches of a spec as lanes of groups against the same searches one after the other: are they equal, and cheaper?

    python benchmarks/fused_spec.py benchmarks/collapse.yaml --set data.dataset.file=cifar10_jpeg_16.npz
                                    [--epochs 3] [--seeds 0 1] [--lanes 8] [--precision float64] [--json FILE]

Takes every configuration of a spec, groups those of like structure (`search/fused.py`), and runs each group, then its
searches alone. No Ray, no run directory, one thread. For each group it prints the CPU seconds of both and the largest
difference of a figure, as a share of the figure where that is above 1, over all rows: losses, accuracies, arch weights
of each epoch. `other cells` counts the epochs after which a search has another genotype. Then what cannot be fused and
why, and all seconds together.

In float64 figures are equal to about 1e-9. In float32 rounding grows from step to step, as it does between two
machines: give `--precision float64` to see that the searches are the same. Exit code 1 where they are not equal in
float64.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from step import positive

from raydarts.config.loader import load_spec
from raydarts.data.splits import AnySplits, load_splits
from raydarts.errors import InputError, RaydartsError
from raydarts.search.fused import FusedSearch, structure, unfusable
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

MEASURED = {"seconds", "memory_mb"}
EQUAL = 1e-8

Rows = list[dict[str, Any]]


def configurations(arguments: argparse.Namespace) -> tuple[list[SearchSettings], AnySplits]:
    loaded = load_spec(arguments.spec, arguments.set)
    changes = {"epochs": arguments.epochs, "precision": arguments.precision}
    changes = {name: value for name, value in changes.items() if value is not None}
    seeds = loaded.sweep.replicates or (None,)
    splits = load_splits(loaded.data)
    known = {}
    for settings in loaded.drawn:
        for seed in seeds:
            plain = settings.model_dump(mode="json") | ({} if seed is None else {"seed": seed})
            plain |= {name: value for name, value in changes.items() if name != "epochs" or plain["epochs"] > value}
            if arguments.seeds is None or plain["seed"] in arguments.seeds:
                fewest = SearchSettings.model_validate(plain)
                known[json.dumps(plain, sort_keys=True)] = long_enough(fewest, settings.epochs, splits)
    return list(known.values()), splits


def long_enough(settings: SearchSettings, most: int, splits: AnySplits) -> SearchSettings:
    """Returns the search with as many epochs as its remedies need, `most` at most. Some let alpha rest at first."""
    while True:
        try:
            Search(settings, splits)
            return settings
        except InputError:
            if settings.epochs >= most:
                raise
            settings = settings.model_copy(update={"epochs": settings.epochs + 1})


def together(searches: Sequence[Search]) -> list[Rows]:
    """Returns the rows of each search. Those that have ended leave the group."""
    group = FusedSearch()
    rows: dict[int, Rows] = {id(search): [] for search in searches}
    while going := [search for search in searches if not search.finished]:
        for search, outcome in zip(going, group.run_epoch(going), strict=True):
            if isinstance(outcome, Exception):
                raise outcome
            rows[id(search)].append(outcome)
    return list(rows.values())


def alone(search: Search) -> Rows:
    rows = []
    while not search.finished:
        rows.append(search.run_epoch())
    return rows


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in MEASURED:
                yield from numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def apart(one: Rows, other: Rows) -> float:
    """The largest difference of a figure. Infinite where one has figures that the other has not."""
    mine, theirs = list(numbers(one)), list(numbers(other))
    if len(mine) != len(theirs):
        return float("inf")
    return max((abs(a - b) / max(1.0, abs(b)) for a, b in zip(mine, theirs, strict=True)), default=0.0)


def other_cells(one: Rows, other: Rows) -> int:
    """How many epochs end with another genotype, those that only one has included."""
    differing = sum(a["genotype"] != b["genotype"] for a, b in zip(one, other, strict=False))
    return differing + abs(len(one) - len(other))


@dataclass
class Compared:
    """What a group of searches costs together and alone, in CPU seconds, and how far the figures are apart."""

    searches: int
    names: str
    together: float
    alone: float
    apart: float
    other_cells: int
    epochs: int


def compared(group: Sequence[SearchSettings], splits: AnySplits) -> Compared:
    lanes, others = ([Search(settings, splits) for settings in group] for _ in range(2))
    began = time.process_time()
    fused = together(lanes)
    middle = time.process_time()
    solo = [alone(search) for search in others]
    ended = time.process_time()
    pairs = list(zip(fused, solo, strict=True))
    return Compared(
        len(group),
        ", ".join(f"{name} x {count}" for name, count in Counter(map(name_of, group)).items()),
        middle - began,
        ended - middle,
        max(apart(*pair) for pair in pairs),
        sum(other_cells(*pair) for pair in pairs),
        sum(map(len, solo)),
    )


def name_of(settings: SearchSettings) -> str:
    """The remedies of a search, in a few words."""
    parts = [each.name for each in settings.regularizers]
    parts += [] if settings.relaxation.name == "softmax" else [settings.relaxation.name]
    parts += [] if settings.selection.name == "argmax" else [settings.selection.name]
    return " + ".join(parts) or "plain"


def groups_of(chosen: Sequence[SearchSettings], lanes: int) -> list[list[SearchSettings]]:
    """Groups of at most `lanes` searches of like structure, in the order of the spec."""
    alike: dict[str, list[SearchSettings]] = defaultdict(list)
    for settings in chosen:
        alike[structure(settings)].append(settings)
    return [each[start : start + lanes] for each in alike.values() for start in range(0, len(each), lanes)]


def run(arguments: argparse.Namespace) -> int:
    chosen, splits = configurations(arguments)
    reasons = {id(settings): unfusable(settings) for settings in chosen}
    print(f"{len(chosen)} searches, in groups of up to {arguments.lanes}; torch {torch.__version__}, one thread")
    print(f"{'together':>9} {'alone':>9} {'ratio':>6} {'apart':>8} {'other cells':>12}   group")
    rows = []
    for group in groups_of([settings for settings in chosen if not reasons[id(settings)]], arguments.lanes):
        row = compared(group, splits)
        rows.append(row)
        cells = f"{row.other_cells} of {row.epochs}"
        print(
            f"{row.together:8.1f}s {row.alone:8.1f}s {row.alone / row.together:6.2f} {row.apart:8.0e} {cells:>12}   "
            f"{row.names}",
            flush=True,
        )
    unfused = 0.0
    for settings in (settings for settings in chosen if reasons[id(settings)]):
        search = Search(settings, splits)
        began = time.process_time()
        alone(search)
        took = time.process_time() - began
        unfused += took
        print(f"{took:8.1f}s {took:8.1f}s   1.00   {name_of(settings)}: {'; '.join(reasons[id(settings)])}", flush=True)
    fused = unfused + sum(row.together for row in rows)
    solo = unfused + sum(row.alone for row in rows)
    print(f"{fused:8.1f}s {solo:8.1f}s {solo / fused:6.2f}   all; {unfused:.1f}s of them cannot be fused")
    if arguments.json:
        whole = {"groups": [vars(row) for row in rows], "unfused": unfused, "together": fused, "alone": solo}
        arguments.json.write_text(json.dumps(whole, indent=1) + "\n")
    exact = all(settings.precision == "float64" for settings in chosen)
    return int(exact and any(row.apart > EQUAL or row.other_cells for row in rows))


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in `raydarts sweep`")
    parser.add_argument("--epochs", type=positive, help="most epochs of a search, or as few as its remedies allow")
    parser.add_argument("--seeds", type=int, nargs="+", help="only searches with these seeds")
    parser.add_argument("--lanes", type=positive, default=8)
    parser.add_argument("--precision", choices=("float32", "float64"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    try:
        return run(arguments)
    except RaydartsError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
