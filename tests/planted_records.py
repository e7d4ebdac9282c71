"""Tables of recorded searches that never ran, in the shape of RobustDARTS' logs, with collapse planted in them."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def genotype(nodes: int, skips: int, pools: int, rng: random.Random) -> str:
    """A DARTS cell with `nodes` nodes of two edges, as its authors write it."""
    edges = 2 * nodes
    names = ["skip_connect"] * skips + ["max_pool_3x3"] * pools
    names += [rng.choice(OPERATIONS) for _ in range(edges - len(names))]
    rng.shuffle(names)
    sources = [src for node in range(2, 2 + nodes) for src in rng.sample(range(node), 2)]
    normal = list(zip(names, sources, strict=True))
    reduce = [("max_pool_3x3", src) for src in sources]
    concat = f"range(2, {2 + nodes})"
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat={concat})"


def runs(
    seed: int = 0, configurations: int = 16, seeds: int = 3, epochs: int = 20, nodes: int = 4, collapsing: float = 0.25
) -> list[dict[str, Any]]:
    """A share `collapsing` of the configurations ends in skips alone, and has the best accuracies: that is the lure.

    The others keep healthy cells. Their accuracies rise to a level of their own; a third of them is broken and stays
    low.
    """
    rng, made = random.Random(seed), []
    for number in range(configurations):
        collapses = number < collapsing * configurations
        broken = not collapses and rng.random() < 0.3
        level = rng.uniform(88, 90) if collapses else rng.uniform(15, 50) if broken else rng.uniform(80, 87)
        pace, onset = rng.uniform(0.1, 0.25), rng.randint(epochs // 4, epochs // 2)
        for search_seed in range(seeds):
            shift = rng.gauss(0, 0.3)
            accuracies, genotypes = [], []
            for epoch in range(1, epochs + 1):
                rise = 1 - 2.718 ** (-pace * epoch * 50 / epochs)
                accuracies.append(round(min(99.0, max(5.0, level * rise + shift + rng.gauss(0, 0.2))), 3))
                full = collapses and epoch >= onset
                skips = 2 * nodes - rng.randint(0, 1) if full else rng.randint(0, nodes // 2)
                genotypes.append(genotype(nodes, skips, 0 if full else rng.randint(0, 1), rng))
            made.append(
                {
                    "space": "s1",
                    "dataset": "cifar10",
                    "weight_decay": float(f"{3e-4 * 3 ** (number % 4):.4g}"),
                    "drop_path_prob": round(0.1 * (number // 4), 1),
                    "seed": search_seed,
                    "supernet_param_MB": 0.4,
                    "epoch_valid_acc": accuracies,
                    "epoch_genotype": genotypes,
                    "epoch_valid_loss": [round(3 - accuracy / 50, 4) for accuracy in accuracies],
                }
            )
    return made


def write(path: Path, value: Any) -> Path:
    """Write a table; packed if the name says so."""
    content = json.dumps(value).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
