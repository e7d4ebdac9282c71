"""The memory that is foretold for searches against the memory that a process then takes, at its peak.

    python benchmarks/memory.py

Each measurement has a process of its own. The peak is the operating system's (VmHWM), so it runs on Linux alone. Of
what the process has before its first step, memory that it shares with others (libraries) does not count.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SIZES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "quick: darts-cnn, 4 channels, 3 layers, 2 nodes, 8x8, batch 32": (
        {"space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2}, "batch_size": 32},
        [8, 8, 1],
    ),
    "darts-cnn, 8 channels, 5 layers, 16x16, batch 32": (
        {"space": {"name": "darts-cnn", "channels": 8, "layers": 5}, "batch_size": 32},
        [16, 16, 3],
    ),
    "nasbench201, 8 channels, 2 cells a stage, 16x16, batch 64": (
        {"space": {"name": "nasbench201", "channels": 8, "cells_per_stage": 2}, "batch_size": 64},
        [16, 16, 3],
    ),
}
ESTIMATORS: list[dict[str, Any]] = [{"name": "first_order"}, {"name": "finite_difference", "xi": 0.01}]
LANES = (1, 4, 8)
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="Sizes whose name contains this.")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measured(**json.loads(chosen.one))))
        return
    print("| search | estimator | together | tensors, counted | process, foretold | process, peak | foretold / peak |")
    print("|---|---|---|---|---|---|---|")
    for name, (settings, shape) in SIZES.items():
        for estimator in ESTIMATORS if chosen.only in name else ():
            for lanes in LANES:
                given = {"settings": {**settings, "estimator": estimator}, "shape": shape, "lanes": lanes}
                done = subprocess.run(
                    [sys.executable, __file__, "--one", json.dumps(given)], capture_output=True, text=True, check=True
                )
                one = json.loads(done.stdout.splitlines()[-1])
                sizes = " | ".join(f"{one[each]:.0f} MiB" for each in ("tensors", "foretold", "peak"))
                ratio = one["foretold"] / one["peak"]
                print(f"| {name} | {estimator['name']} | {lanes} | {sizes} | {ratio:.2f} |", flush=True)


def measured(settings: dict[str, Any], shape: list[int], lanes: int) -> dict[str, float]:
    """In MiB: what is foretold, and the peak of two epochs of a step each."""
    import psutil  # noqa: PLC0415
    import ray.tune  # noqa: PLC0415, F401 - as a trial's process has it
    import torch  # noqa: PLC0415

    import raydarts.execution.build  # noqa: PLC0415, F401
    from raydarts.data.base import Size  # noqa: PLC0415
    from raydarts.search.footprint import footprint, made_up  # noqa: PLC0415
    from raydarts.search.fused import FusedSearch  # noqa: PLC0415
    from raydarts.search.search import Search  # noqa: PLC0415
    from raydarts.search.settings import SearchSettings  # noqa: PLC0415
    from raydarts.sweeping.memory import BESIDE, PROCESS  # noqa: PLC0415

    torch.set_num_threads(1)
    whole = SearchSettings.model_validate({"epochs": 2, **settings})
    height, width, channels = shape
    size = Size(2 * whole.batch_size, 0, 16, height, width, channels, 10)
    before = psutil.Process().memory_full_info()
    shared = before.rss - before.uss
    searches = [Search(whole.model_copy(update={"seed": seed}), made_up(whole, size)) for seed in range(lanes)]
    together = FusedSearch()
    for _ in range(2):
        for outcome in together.run_epoch(searches):
            if isinstance(outcome, Exception):
                raise outcome
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    tensors = footprint(whole, size).group(lanes)
    return {
        "tensors": tensors / MIB,
        "foretold": (PROCESS + BESIDE * tensors) / MIB,
        "peak": (int(peak[1]) * 1024 - shared) / MIB,
        "before": before.uss / MIB,
    }


if __name__ == "__main__":
    main()
