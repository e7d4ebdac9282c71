"""A sweep at a size that no machine here has: 64 GPUs, 1,000 searches with ASHA, then their evaluation.

    python benchmarks/scale.py [--gpus 64] [--trials 1000] [--epoch-seconds 240] [--compression 15] [--json FILE]

raydarts' own sweep code runs, on a local Ray that is told of so many GPUs; only the jobs are replaced, by ones that
wait as long as the model of time says and report (`scale_jobs.py`). docs/scale.md tells what it shows and what not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from raydarts.cpus import usable_cpus
from raydarts.sweeping.runner import start_sweep  # sets the environment that Ray reads when it is imported

ROOT = Path(__file__).parent.parent
MEGABYTE = 2**20


@dataclass(frozen=True)
class Model:
    """The model of time: an epoch's median in simulated seconds, the sigma of its lognormal, and how much faster."""

    epoch_seconds: float
    sigma: float
    compression: float


@dataclass(frozen=True)
class Epoch:
    """One epoch as times.jsonl and metrics.jsonl have it, in seconds since 1970."""

    trial: str
    gpu: str
    start: float
    end: float


def spec(arguments: argparse.Namespace) -> dict[str, Any]:
    """The sweep in raydarts' own words; data and space are never built."""
    return {
        "name": "scale",
        "question": "Does the driver keep so many GPUs busy?",
        "data": {"dataset": "digits", "validation_fraction": 0.2},
        "search": {
            "epochs": arguments.epochs,
            "batch_size": 32,
            "lr": {"loguniform": [0.005, 0.1]},
            "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 4},
        },
        "sweep": {
            "searcher": {"name": "random", "trials": arguments.trials},
            "scheduler": {"name": "asha", "grace_period": arguments.grace},
            "metric": "validation_accuracy",
            "resources": {"cpus": 1, "gpus": 1},
        },
        "evaluate": {
            "top_k": arguments.top_k,
            "seeds": list(range(arguments.seeds)),
            "resources": {"cpus": 1, "gpus": 1},
            "training": {"epochs": arguments.evaluation_epochs, "batch_size": 32},
        },
    }


class Watch:
    """The memory of the workers and the CPU seconds of the driver, looked at while the sweep runs."""

    def __init__(self) -> None:
        self.workers, self.megabytes, self.apiece = 0, 0.0, 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._end.wait(20):
            own = [self._private(each) for each in psutil.Process().children(recursive=True) if self._works(each)]
            if sum(own) > self.megabytes:
                self.workers, self.megabytes, self.apiece = len(own), sum(own), max(own)

    @staticmethod
    def _works(process: psutil.Process) -> bool:
        try:
            return "JobTrainable" in " ".join(process.cmdline())
        except psutil.Error:
            return False

    @staticmethod
    def _private(process: psutil.Process) -> float:
        try:
            return float(process.memory_full_info().uss) / MEGABYTE
        except psutil.Error:
            return 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()


def read_epochs(folder: Path) -> list[Epoch]:
    """All epochs of the trials in a folder, by start."""
    found = []
    for trial in folder.iterdir():
        rows = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        times = [json.loads(line) for line in (trial / "times.jsonl").read_text().splitlines()]
        found += [
            Epoch(trial.name, row["gpu"], each["start"], each["end"]) for row, each in zip(rows, times, strict=True)
        ]
    return sorted(found, key=lambda epoch: epoch.start)


def utilisation(epochs: Sequence[Epoch], gpus: int, start: float, end: float) -> float:
    """Busy GPU-seconds between two moments over those there were."""
    busy = sum(max(0.0, min(epoch.end, end) - max(epoch.start, start)) for epoch in epochs)
    return busy / (gpus * (end - start)) if end > start else float("nan")


def measure(epochs: Sequence[Epoch], gpus: int, compression: float) -> dict[str, Any]:
    """What one stage made of its GPUs.

    `all_running`: when every GPU had begun its first epoch; `tail`: when the last trial began, after which GPUs fall
    idle because no trial waits. Gaps: on one GPU from an epoch's end to the next one's start, where that lies before
    the tail, so that there was work for it.
    """
    begins: dict[str, float] = {}
    lanes: dict[str, list[Epoch]] = defaultdict(list)
    for epoch in epochs:
        begins.setdefault(epoch.trial, epoch.start)
        lanes[epoch.gpu].append(epoch)
    start, end = epochs[0].start, max(epoch.end for epoch in epochs)
    all_running, tail = max(lane[0].start for lane in lanes.values()), max(begins.values())
    within, between = [0.0], [0.0]
    for lane in lanes.values():
        for one, other in pairwise(lane):
            if other.start <= tail:
                (within if one.trial == other.trial else between).append(max(0.0, other.start - one.end))
    steady = tail > all_running
    seconds = [epoch.end - epoch.start for epoch in epochs]
    return {
        "trials": len(begins),
        "epochs": len(epochs),
        "gpus_used": len(lanes),
        "wall_seconds": end - start,
        "simulated_hours": (end - start) * compression / 3600,
        "mean_epoch_seconds": sum(seconds) / len(seconds),
        "utilisation": utilisation(epochs, gpus, start, end),
        "utilisation_before_tail": utilisation(epochs, gpus, start, tail),
        "utilisation_all_running": utilisation(epochs, gpus, all_running, tail) if steady else None,
        "ramp_seconds": all_running - start,
        "tail_seconds": end - tail,
        "longest_stall_seconds": max(*within, *between),
        "mean_gap_between_epochs": sum(within) / max(1, len(within) - 1),
        "mean_gap_between_trials": sum(between) / max(1, len(between) - 1),
        "trials_per_second": len(begins) / (end - start),
        "epochs_per_second": len(epochs) / (end - start),
    }


def count_files(run: Path) -> dict[str, int]:
    events = (run / "events.jsonl").read_text().splitlines()
    files = [path for path in run.rglob("*") if path.is_file()]
    own = [path for path in files if "ray" not in path.relative_to(run).parts]
    return {
        "events": len(events),
        "files": len(own),
        "megabytes": round(sum(path.stat().st_size for path in own) / MEGABYTE),
        "files_of_ray": len(files) - len(own),
    }


def simulate(arguments: argparse.Namespace, storage: Path) -> dict[str, Any]:
    """Run the sweep and measure it."""
    import ray  # noqa: PLC0415 - after the environment

    from raydarts.config.loader import load_plain  # noqa: PLC0415 - as the command line does

    model = Model(arguments.epoch_seconds, arguments.sigma, arguments.compression)
    variables = {"PYTHONPATH": str(ROOT), "RAYDARTS_SCALE_MODEL": json.dumps(asdict(model)), "MALLOC_ARENA_MAX": "1"}
    ray.init(
        address="local",
        num_cpus=arguments.gpus,
        num_gpus=arguments.gpus,
        object_store_memory=200 * MEGABYTE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": variables},
    )
    watch, before, began = Watch(), time.process_time(), time.time()
    try:
        with watch.watching():
            code = start_sweep(
                load_plain(spec(arguments), "benchmarks/scale.py"),
                storage,
                address="auto",
                display=arguments.show,
                builder="benchmarks.scale_jobs:build",
            )
    finally:
        ray.shutdown()
    if code:
        raise SystemExit(f"the sweep ended with {code}")
    driver, run = time.process_time() - before, storage / "scale"
    stages = {
        name: measure(read_epochs(run / folder), arguments.gpus, model.compression)
        for name, folder in (("search", "trials"), ("evaluate", "evaluations"))
    }
    trials = sum(stage["trials"] for stage in stages.values())
    return {
        "machine": {"cpus": usable_cpus(), "load": os.getloadavg(), "python": platform.python_version()},
        "gpus": arguments.gpus,
        "model": asdict(model),
        "stages": stages,
        "wall_seconds": time.time() - began,
        "driver_cpu_seconds": driver,
        "driver_cpu_seconds_per_trial": driver / trials,
        "workers": {"at_once": watch.workers, "megabytes": watch.megabytes, "largest": watch.apiece},
        "written": count_files(run),
    }


def table(found: Mapping[str, Any]) -> str:
    """The figures of each stage, a line each."""
    stages = found["stages"]
    lines = [f"{'':28}" + "".join(f"{name:>12}" for name in stages)]
    for key in next(iter(stages.values())):
        values = [stage[key] for stage in stages.values()]
        cells = [
            f"{'-' if value is None else f'{value:.3f}' if isinstance(value, float) else value:>12}" for value in values
        ]
        lines.append(f"{key:28}" + "".join(cells))
    rest = {key: value for key, value in found.items() if key != "stages"}
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in rest.items())])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=16, help="of a search that ASHA lets end")
    parser.add_argument("--grace", type=int, default=4, help="ASHA's first rung, in epochs")
    parser.add_argument("--top-k", type=int, default=64, help="genotypes evaluated")
    parser.add_argument("--seeds", type=int, default=2, help="evaluations of each")
    parser.add_argument("--evaluation-epochs", type=int, default=10)
    parser.add_argument("--epoch-seconds", type=float, default=240.0, help="median of an epoch, simulated")
    parser.add_argument("--sigma", type=float, default=0.4, help="of the lognormal that a job's epoch is drawn from")
    parser.add_argument("--compression", type=float, default=15.0, help="simulated seconds in one real second")
    parser.add_argument("--show", action="store_true", help="the sweep's own display")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args(arguments)


def main(given: Sequence[str] | None = None) -> int:
    arguments = parse(given)
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="raydarts-scale-") as storage:
        found = simulate(arguments, Path(storage))
    sys.stdout.write(table(found) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
