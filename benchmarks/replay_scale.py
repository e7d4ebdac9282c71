"""Time and memory of one replayed sweep of many trials: both must grow with the number of trials, and no faster.

    python benchmarks/replay_scale.py [--trials 625 1250 2500 5000] [--epochs 50] [--json OUT]

The records are made up: a level for each configuration and noise in each epoch, with healthy cells. Each scheduler gets
each number of trials in a process of its own. `driver_s` is CPU time of the whole sweep, `memory_mib` what the process
holds more after it than before. `exponent` is the slope of log time over log trials between the two largest sizes: 1 is
linear.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from raydarts.config.spec import SweepSettings
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.recordings import Recording, Recordings, row_of
from raydarts.sweeping.replaying import Plan, replay
from raydarts.sweeping.replays import settings_of

SCHEDULERS = ("fifo", "asha", "median", "hyperband")
CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["sep_conv_3x3", 1], ["dil_conv_3x3", 2]]
CONCAT = [2, 3]


def records(trials: int, epochs: int) -> Recordings:
    """So many made-up searches."""
    genotype = Genotype.from_json({"normal": CELL, "normal_concat": CONCAT, "reduce": CELL, "reduce_concat": CONCAT})
    rng, runs = random.Random(0), []
    for number in range(trials):
        level = rng.uniform(0.5, 0.9)
        rows = tuple(
            row_of(epoch, {"validation_accuracy": level * (1 - 0.9**epoch) + rng.gauss(0, 0.005)}, genotype)
            for epoch in range(1, epochs + 1)
        )
        runs.append(Recording(f"run {number}", {"number": number}, 0, rows, (genotype,) * epochs))
    return Recordings(tuple(runs))


def measure(scheduler: str, trials: int, epochs: int) -> dict[str, Any]:
    """One sweep in this process."""
    recordings = records(trials, epochs)
    settings: SweepSettings = settings_of(recordings, [f"sweep.scheduler={scheduler}"])
    replay(Plan(recordings.of(recordings.configurations[:20]), settings, 8), 0)  # what is loaded at first use
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    replayed = replay(Plan(recordings, settings, 64), 0)
    return {
        "scheduler": scheduler,
        "trials": trials,
        "epochs": replayed.epochs,
        "events": len(replayed.events),
        "driver_s": round(time.process_time() - began, 3),
        "memory_mib": round((process.memory_info().rss - before) / 2**20, 1),
    }


def exponent(rows: list[dict[str, Any]]) -> float | None:
    """How driver time grows between the two largest sizes."""
    if len(rows) < 2 or not all(row["driver_s"] > 0 for row in rows[-2:]):
        return None
    one, other = rows[-2:]
    per_report = [row["driver_s"] / row["epochs"] for row in (one, other)]
    return 1 + math.log(per_report[1] / per_report[0]) / math.log(other["trials"] / one["trials"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[625, 1250, 2500, 5000])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--schedulers", nargs="+", default=SCHEDULERS, choices=SCHEDULERS)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        logging.getLogger("ray").setLevel(logging.ERROR)
        print(json.dumps(measure(options.schedulers[0], options.trials[0], options.epochs)))
        return 0
    told: list[dict[str, Any]] = []
    for scheduler in options.schedulers:
        rows = []
        for trials in sorted(options.trials):
            command = [sys.executable, __file__, "--one", "--trials", str(trials), "--epochs", str(options.epochs)]
            done = subprocess.run([*command, "--schedulers", scheduler], capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            each = rows[-1]
            print(
                f"{scheduler:<10}{trials:>6} trials {each['epochs']:>8,} epochs {each['driver_s']:>7.2f} s "
                f"{1e6 * each['driver_s'] / each['epochs']:>6.1f} us/epoch {each['memory_mib']:>7.1f} MiB",
                flush=True,
            )
        told += rows
        slope = exponent(rows)
        print(f"{scheduler:<10}grows with the power {'-' if slope is None else format(slope, '.2f')} of trials")
    if options.json is not None:
        options.json.write_text(json.dumps({"rows": told}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
