"""What each remedy adds to the time of a search step, in one run against the plain search.

    python benchmarks/remedy_cost.py [--rounds 3] [--threads 1]

First order, darts-cnn with 8 channels, 5 layers and 3 nodes, 32x32 random images, batch 16. Each remedy at its
defaults in the middle of a search (annealing half way), beside what it requires. The rounds take turns between all of
them; a figure is the median over rounds of the step's time over the plain step's in the same round, with the smallest
and largest. What a remedy does once an epoch (an eigenvalue) or after the search (DARTS-PT's decisions) is no part of
it. Writes docs/remedy_costs.json. About 5 minutes on a CPU core.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.progress import track
from step import step_of

from raydarts.catalogue import catalogue
from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, split
from raydarts.search.moments import Moment
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

BATCH, EPOCHS = 16, 41
TARGET = Path(__file__).parent.parent / "docs" / "remedy_costs.json"
# At their defaults these act on a supernet of another size, or ask for channels that 8 are too few for.
ONLY_HERE = {"progressive": {"layers": [5, 5, 5]}}


def images() -> Splits:
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (4 * BATCH, 32, 32, 3), dtype=np.uint8)
    labels = draws.integers(0, 10, 4 * BATCH)
    return split(
        ImageArrays.of("random", pixels, labels, pixels[:1], labels[:1], 10), DataSettings(validation_fraction=0)
    )


def step_with(row: dict[str, Any] | None, splits: Splits) -> Callable[[], None]:
    """A function that takes one step with the remedy (None: without any)."""
    plain: dict[str, Any] = {
        "batch_size": BATCH,
        "epochs": EPOCHS,
        "estimator": "first_order",
        "space": {"name": "darts-cnn", "channels": 8, "layers": 5, "nodes": 3},
    }
    if row is not None:
        part = {"name": row["name"], **ONLY_HERE.get(row["name"], {})}
        plain |= {"regularizers": [part]} if row["family"] == "regularizer" else {row["family"]: part}
        for need in row["requires"]:
            family, _, names = need.partition(":")
            plain[family] = names.split("|")[0]
    search = Search(SearchSettings.model_validate(plain), splits)
    now = Moment(EPOCHS // 2, EPOCHS, 0, EPOCHS // 2, EPOCHS)
    search.parts.relaxation.on_epoch_start(now)
    for regularizer in search.regularizers:
        regularizer.on_epoch_start(now)
    return step_of(search)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    splits = images()
    steps = {"plain": step_with(None, splits)}
    steps |= {f"{row['family']}:{row['name']}": step_with(row, splits) for row in catalogue("remedies")}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in track(range(arguments.rounds + 1), "rounds"):
        for name, take in steps.items():
            started = time.process_time()
            take()
            if number:  # the first one warms up
                seconds[name].append(time.process_time() - started)
    ratios = {
        name: [mine / plain for mine, plain in zip(found, seconds["plain"], strict=True)]
        for name, found in seconds.items()
        if name != "plain"
    }
    how = (
        f"the CPU time of a first-order step over the plain search's in the same round, median of {arguments.rounds} "
        "rounds with the smallest and largest (benchmarks/remedy_cost.py: darts-cnn, 8 channels, 5 layers, 3 nodes, "
        f"32x32, batch {BATCH}, defaults, half way through the search), {arguments.threads} thread of a shared "
        f"{platform.machine()} CPU, torch {torch.__version__.partition('+')[0]}. Not in it: what is done once an epoch "
        "(the eigenvalue of darts_es and darts_ada) or after the search (perturbation's epochs), and what progressive "
        "changes with its other supernets."
    )
    figures = {
        name: {"median": round(median(found), 3), "low": round(min(found), 3), "high": round(max(found), 3)}
        for name, found in ratios.items()
    }
    TARGET.write_text(json.dumps({"how": how, "remedies": figures}, indent=1) + "\n", encoding="utf-8")
    print(f"plain: {median(seconds['plain']):.2f} s a step; written to {TARGET}")


if __name__ == "__main__":
    main()
