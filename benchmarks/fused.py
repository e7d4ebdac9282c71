"""K searches as lanes of one supernet against the same searches one after the other, in one run.

    python benchmarks/fused.py [--sizes quick,middle] [--lanes 2,4,8,16] [--rounds 5] [--device cuda] [--json FILE]

For each size, order and K it prints the price: K times the time of a search's epoch, divided by the time of the fused
epoch. An epoch is a real one (`Search.run_epoch`, `FusedSearch.run_epoch`) of `--steps` steps on random images, with
packing and unpacking, without validation. The size `text` is that of sweeps/rnn-quick.yaml. Each of its searches cuts
random tokens into batches of other lengths, so use `--steps 20` or more. Rounds of both take turns, and the least time
of each counts: CPU seconds on a CPU. Threads: one, unless `--threads` says otherwise.

`operations` counts what a step dispatches to torch, as a multiple of the search's own: its price on a GPU, where a
small supernet waits for launches. `reads` counts how often a step waits for the device. `memory` is the peak of the
process in a fused step, divided by K times a search's own peak, each in a process of its own and less what the process
had before.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, Splits, split
from raydarts.data.text import TextTokens
from raydarts.data.text_splits import TextSplits
from raydarts.search.fused import FusedSearch
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

ORDERS = {"first": "first_order", "second": "finite_difference"}
SIZES: dict[str, dict[str, Any]] = {
    "quick": {"image": 8, "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2}},
    "middle": {"image": 16, "space": {"name": "darts-cnn", "channels": 8, "layers": 5, "nodes": 2}},
    "paper": {"image": 32, "space": {"name": "darts-cnn"}},
    "text": {"words": 1000, "space": {"name": "darts-rnn", "nodes": 4, "units": 48}, "text": {"bptt": 20}},
}
BATCH = 32
MEBIBYTE = 2**20


def splits(size: dict[str, Any], steps: int) -> AnySplits:
    return (
        text_splits(size["words"], size["text"]["bptt"], steps)
        if "words" in size
        else image_splits(size["image"], steps)
    )


def text_splits(words: int, length: int, steps: int) -> TextSplits:
    tokens = np.random.default_rng(0).integers(0, words, BATCH * (length * steps + 1))
    few = tokens[:40]  # a text has to have a part that is held out
    return TextSplits(TextTokens("random", tokens, few, few, tuple(map(str, range(words)))), tokens, tokens, tokens)


def image_splits(image: int, steps: int) -> Splits:
    draws = np.random.default_rng(0)
    count = 2 * BATCH * steps
    pixels = draws.integers(0, 256, (count, image, image, 3), dtype=np.uint8)
    arrays = ImageArrays.of(
        "random", pixels, draws.permutation(np.arange(count) % 10), pixels[:1], np.zeros(1, int), 10
    )
    return split(arrays, DataSettings(validation_fraction=0))


def searches(size: str, order: str, lanes: int, steps: int, device: str) -> list[Search]:
    """Searches that differ in seed and learning rate."""
    data = splits(SIZES[size], steps)
    chosen = {key: SIZES[size][key] for key in ("space", "text") if key in SIZES[size]}
    plain = {"epochs": 10**6, "batch_size": BATCH, **chosen, "estimator": ORDERS[order], "alpha_init": 1e-3}
    return [
        Search(
            SearchSettings.model_validate(plain | {"seed": lane, "lr": 0.01 * (1 + lane), "probes": []}), data, device
        )
        for lane in range(lanes)
    ]


def timed(run: Any, device: str) -> float:
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" else time.perf_counter  # what else the machine does counts less
    started = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - started


class Dispatched(TorchDispatchMode):
    """Counts what is dispatched, and how often a value is read by the host."""

    READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.name().partition(".")[0]] += 1
        return func(*args, **(kwargs or {}))

    @property
    def reads(self) -> int:
        return sum(self.counts[name] for name in self.READS)


def counted(run: Any, more: Any) -> tuple[int, int]:
    """Returns operations and reads of one step: of an epoch with one step more, less those of an epoch."""
    both = []
    for work in (run, more):
        with Dispatched() as mode:
            work()
        both.append((sum(mode.counts.values()), mode.reads))
    return both[1][0] - both[0][0], both[1][1] - both[0][1]


def compared(size: str, order: str, lanes: int, rounds: int, steps: int, device: str) -> dict[str, float]:
    (alone,) = searches(size, order, 1, steps, device)
    group, together = FusedSearch(), searches(size, order, lanes, steps, device)
    alone.run_epoch()
    group.run_epoch(together)
    solo, fused = [], []
    for _ in range(rounds):
        solo.append(timed(alone.run_epoch, device))
        fused.append(timed(lambda: group.run_epoch(together), device))

    def once(count: int) -> tuple[Any, Any]:
        (one,) = searches(size, order, 1, count, device)
        many, lot = FusedSearch(), searches(size, order, lanes, count, device)
        one.run_epoch()
        many.run_epoch(lot)
        return one.run_epoch, lambda: many.run_epoch(lot)

    few, more = once(1), once(2)
    operations, reads = counted(few[0], more[0])
    fused_operations, fused_reads = counted(few[1], more[1])
    return {
        "price": lanes * min(solo) / min(fused),
        "search_ms": 1000 * min(solo) / steps,
        "fused_ms": 1000 * min(fused) / steps,
        "operations": fused_operations / operations,
        "search_operations": operations,
        "reads": fused_reads,
        "search_reads": reads,
        "memory": peak(size, order, lanes, device) / (lanes * peak(size, order, 1, device)),
    }


def peak(size: str, order: str, lanes: int, device: str) -> float:
    """Returns the peak of memory of an epoch, in a process of its own, less what it had before the data."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (size, order, lanes, device))


def _peak(size: str, order: str, lanes: int, device: str) -> float:
    torch.set_num_threads(1)
    before = psutil.Process().memory_info().rss
    group, all_of_them = FusedSearch(), searches(size, order, lanes, 2, device)
    group.run_epoch(all_of_them)
    group.run_epoch(all_of_them)
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    # Of this program alone: getrusage counts what the process was before it became this program.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(int(status["VmHWM"].split()[0]) * 1024 - before) / MEBIBYTE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="quick,middle")
    parser.add_argument("--orders", default="first,second")
    parser.add_argument("--lanes", default="2,4,8,16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    record: dict[str, Any] = {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}
    print(f"{'size':8} {'order':7} {'K':>3} {'price':>6} {'operations':>11} {'reads':>6} {'memory':>7}")
    for size in arguments.sizes.split(","):
        for order in arguments.orders.split(","):
            for lanes in map(int, arguments.lanes.split(",")):
                row = compared(size, order, lanes, arguments.rounds, arguments.steps, arguments.device)
                record[f"{size}, {order}, {lanes}"] = row
                print(
                    f"{size:8} {order:7} {lanes:3} {row['price']:6.2f} {row['operations']:11.2f} {row['reads']:6.0f} "
                    f"{row['memory']:7.2f}   ({row['search_ms']:.1f} ms alone, {row['fused_ms']:.1f} ms fused, "
                    f"{row['search_operations']:.0f} operations, {row['search_reads']:.0f} reads alone)",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(main())
