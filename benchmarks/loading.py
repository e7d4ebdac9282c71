"""What augmenting a batch in memory costs beside the search step that it feeds, in one run.

    python benchmarks/loading.py [--batch 64] [--rounds 3] [--threads 1] [--json FILE]

A batch of CIFAR's size (32x32, RGB) is drawn out of 4,096 random images and cropped (padding 4), flipped,
normalised and cut out (16 pixels), as `raydarts.data` does in a search. The step is Algorithm 1 once, first order,
of the paper's search network (16 channels, 8 cells, 4 nodes), the one that benchmarks/step.py measures; it takes two
such batches. The two take turns, so that what else the machine does falls on both; a round's loading time is the mean
over `--batches`. Shares are medians over rounds with the smallest and largest. About 2 minutes on one CPU thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from step import raydarts_step, spread

from raydarts.data.base import ImageArrays
from raydarts.data.parts import batches
from raydarts.data.settings import AugmentSettings, DataSettings
from raydarts.data.splits import split
from raydarts.tasks import Batch

IMAGES = 4096
AUGMENT = AugmentSettings(crop_padding=4, flip=True, cutout_length=16)


def endless(batch: int, device: str) -> Iterator[Batch]:
    """Augmented batches of the weight half of random images, pass after pass."""
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = draws.integers(0, 10, IMAGES)
    arrays = ImageArrays.of("random", images, labels, images[:1], labels[:1], 10)
    part = batches(split(arrays, DataSettings(validation_fraction=0)), "weight", device, torch.float32, AUGMENT)
    order, augment = (torch.Generator(device).manual_seed(seed) for seed in (0, 1))
    for _ in itertools.count():
        yield from part.epoch(batch, order, augment)


def measure(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of one batch and of one step, in each round after the first, which only warms up."""
    torch.set_num_threads(arguments.threads)
    step = raydarts_step("first", arguments.batch, arguments.device)
    source = endless(arguments.batch, arguments.device)

    def seconds(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        if arguments.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    found: dict[str, list[float]] = {"batch": [], "step": []}
    for number in range(arguments.rounds + 1):
        loading = seconds(lambda: [next(source) for _ in range(arguments.batches)]) / arguments.batches
        stepping = seconds(step)
        print(f"round {number}  batch {1e3 * loading:.2f} ms  step {1e3 * stepping:.0f} ms", file=sys.stderr)
        if number:
            found["batch"].append(1e3 * loading)
            found["step"].append(1e3 * stepping)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=50, help="loaded in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments)
    shares = [200 * batch / step for batch, step in zip(found["batch"], found["step"], strict=True)]
    where = torch.cuda.get_device_name() if arguments.device != "cpu" else f"{arguments.threads} CPU thread(s)"
    print(
        f"{where}, torch {torch.__version__}, {platform.machine()}; "
        f"{arguments.rounds} rounds, batch {arguments.batch}\n"
        f"a batch {spread(found['batch'])} ms, a first-order step {median(found['step']):.0f} "
        f"({min(found['step']):.0f} to {max(found['step']):.0f}) ms\n"
        f"the two batches of a step are {spread(shares, 3)} % of it"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(found | {"percent": shares}, indent=2))


if __name__ == "__main__":
    main()
