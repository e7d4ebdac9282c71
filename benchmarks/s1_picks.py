"""Choose four genotypes from recorded searches: what each way of choosing would retrain.

    python benchmarks/s1_picks.py robustdarts_s1_cifar10_runs.json.gz s1-picks.txt

The input holds a list of searches. Of each, this script reads `epoch_valid_acc` (points, one for each epoch) and
`genotype` (what `Genotype(...)` prints). It uses the last epoch of every search:

- `accuracy_alone`: the highest validation accuracy.
- `healthy_first`: the highest validation accuracy among the healthy cells.
- `healthy_at_random`: a healthy cell, drawn by a fixed seed; not the one of `healthy_first`.
- `worst`: the lowest validation accuracy. The first of equal ones.

A cell is healthy if at most half of its normal cell's edges are skip connections, and at most three quarters have no
parameters (skip connections, pools, none).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raydarts.spaces import Genotype

PARAMETER_FREE = frozenset({"skip_connect", "max_pool_3x3", "avg_pool_3x3", "none"})
MOST_SKIPS, MOST_PARAMETER_FREE = 1 / 2, 3 / 4
SEED = 15


SHOWN = ("drop_path_prob", "weight_decay", "seed")

Search = Mapping[str, Any]


def counts(genotype: str) -> tuple[int, int, int]:
    """Returns skip connections, parameter-free edges and all edges of the normal cell."""
    operations = [operation for operation, _ in Genotype.from_json(genotype)["normal"].edges()]
    return operations.count("skip_connect"), sum(each in PARAMETER_FREE for each in operations), len(operations)


def is_healthy(genotype: str) -> bool:
    skips, free, edges = counts(genotype)
    return skips <= MOST_SKIPS * edges and free <= MOST_PARAMETER_FREE * edges


def chosen(searches: Sequence[Search]) -> dict[str, Search]:
    """Returns the search that each way of choosing takes."""

    def accuracy(search: Search) -> float:
        return float(search["epoch_valid_acc"][-1])

    healthy = [search for search in searches if is_healthy(search["genotype"])]
    best = max(healthy, key=accuracy)
    others = [search for search in healthy if search["genotype"] != best["genotype"]]
    return {
        "accuracy_alone": max(searches, key=accuracy),
        "healthy_first": best,
        "healthy_at_random": random.Random(SEED).choice(others),
        "worst": min(searches, key=accuracy),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("target", type=Path, help="a text file: NAME = Genotype(...), a line for each way of choosing")
    arguments = parser.parse_args()
    with gzip.open(arguments.records, "rt", encoding="utf-8") as stream:
        picks = chosen(json.load(stream))
    lines = []
    for name, search in picks.items():
        skips, free, edges = counts(search["genotype"])
        settings = ", ".join(f"{key} {search[key]}" for key in SHOWN if key in search)
        accuracy = search["epoch_valid_acc"][-1]
        print(
            f"{name}: {settings}; validation accuracy {accuracy:.2f}; {skips} skips, {free} parameter-free of {edges}"
        )
        lines.append(f"{name} = {search['genotype']}\n")
    arguments.target.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
