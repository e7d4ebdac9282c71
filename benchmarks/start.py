"""How long a sweep takes until its first epoch, and which of its processes use how much CPU until then.

    python benchmarks/start.py [--against CHECKOUT] [--rounds 3] [--bare] [--json FILE]

It starts `raydarts sweep sweeps/quick.yaml` and interrupts it as soon as a trial has written its first epoch.
`--against` names another checkout of raydarts, such as `git worktree add --detach /tmp/old COMMIT` makes. The two
checkouts take turns, so that what else the machine does falls on both alike. `--bare` measures the floor too: a
program that starts a local Ray by `ray.init`, and in it as many actors as there are CPUs, each of which imports torch
and trains nothing.

Seconds are from the start of the command. CPU seconds are of the command and of all that it has started. Both are
medians over the rounds, with the smallest and the largest. Under 2 minutes a round on 2 CPU cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

HERE = Path(__file__).resolve().parent.parent
BARE = """
import os, sys, time
import ray

@ray.remote(num_cpus=1)
class Worker:
    def load(self):
        import torch

cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
workers = [Worker.remote() for _ in range(cpus)]
ray.get([worker.load.remote() for worker in workers])
open(sys.argv[1], "w").write("loaded")
time.sleep(600)
"""
_LIMIT, _LOOK, _SAMPLE = 240.0, 0.05, 0.5
_PARTS = {
    "gcs_server": "Ray's servers",
    "raylet": "Ray's servers",
    "agent": "Ray's agents",
    "log_monitor": "Ray's agents",
    "ray_process_reaper": "Ray's agents",
    "default_worker": "workers",
    "ray::": "workers",
}


@dataclass(frozen=True)
class Start:
    """One start: seconds until the first epoch, CPU seconds by part until then, when each worker began."""

    seconds: float
    cpu: dict[str, float]
    workers: list[float]

    @property
    def total(self) -> float:
        """CPU seconds of all parts."""
        return sum(self.cpu.values())


class _Family:
    """A process and all that it starts."""

    def __init__(self, root: psutil.Process) -> None:
        self._root, self._began = root, time.time()
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}

    def look(self) -> None:
        """Note the CPU seconds that each process has used so far."""
        family = [self._root]
        with suppress(psutil.Error):
            family += self._root.children(recursive=True)
        for process in family:
            with suppress(psutil.Error):
                times = process.cpu_times()
                key = (process.pid, process.create_time())
                self._seen[key] = (self._part(process), times.user + times.system)

    def _part(self, process: psutil.Process) -> str:
        if process.pid == self._root.pid:
            return "command"
        text = " ".join([process.name(), *process.cmdline()]).lower()
        return next((part for word, part in _PARTS.items() if word in text), "other")

    def cpu(self) -> dict[str, float]:
        """CPU seconds by part."""
        parts: dict[str, float] = {}
        for part, seconds in self._seen.values():
            parts[part] = parts.get(part, 0.0) + seconds
        return parts

    def workers(self) -> list[float]:
        """When each worker's process began, in seconds."""
        return sorted(start - self._began for (_, start), (part, _) in self._seen.items() if part == "workers")

    def end(self) -> None:
        """Interrupt the command, and kill what it leaves after a minute."""
        with suppress(psutil.Error):
            family = [self._root, *self._root.children(recursive=True)]
            self._root.send_signal(signal.SIGINT)
            for process in psutil.wait_procs(family, timeout=60)[1]:
                with suppress(psutil.Error):
                    process.kill()


def _measured(command: Sequence[str], cwd: Path, variables: dict[str, str], begun: Callable[[], bool]) -> Start:
    """Start a command and wait until `begun`. Raises `RuntimeError` where it ends before that, or takes too long."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = psutil.Popen(
            command, cwd=cwd, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=errors
        )
        family, sampled = _Family(process), start
        try:
            while not begun():
                now = time.monotonic()
                if process.poll() is not None or now - start > _LIMIT:
                    errors.seek(0)
                    raise RuntimeError(f"{command} did not come to its first epoch: {errors.read().decode()[-2000:]}")
                if now - sampled > _SAMPLE:
                    family.look()
                    sampled = now
                time.sleep(_LOOK)
            seconds = time.monotonic() - start
            family.look()
        finally:
            family.end()
    return Start(seconds, family.cpu(), family.workers())


def sweep(checkout: Path, folder: Path) -> Start:
    """Start the quick sweep of a checkout."""
    storage = folder / "runs"
    command = [sys.executable, "-m", "raydarts.cli", "sweep", str(checkout / "sweeps" / "quick.yaml")]

    def begun() -> bool:
        return any(file.stat().st_size for file in storage.glob("*/trials/*/metrics.jsonl"))

    try:
        return _measured([*command, "--storage", str(storage)], checkout, {"PYTHONPATH": str(checkout)}, begun)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def bare(folder: Path) -> Start:
    """Start a Ray with actors that import torch, and nothing else."""
    mark = folder / "loaded"
    mark.unlink(missing_ok=True)
    # A local Ray on loopback, as a sweep's: its processes are reached in the same way.
    variables = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    return _measured([sys.executable, "-c", BARE, str(mark)], folder, variables, mark.exists)


def _range(values: Sequence[float]) -> str:
    return f"{median(values):5.1f} ({min(values):.1f} to {max(values):.1f})"


def described(name: str, starts: Sequence[Start]) -> list[str]:
    """The figures of all rounds of one kind."""
    parts = sorted({part for each in starts for part in each.cpu})
    lines = [
        f"{name}: {_range([each.seconds for each in starts])} s, CPU {_range([each.total for each in starts])} s, of it"
    ]
    lines += [f"  {part:<14}{_range([each.cpu.get(part, 0.0) for each in starts])}" for part in parts]
    begun = [", ".join(f"{second:.1f}" for second in each.workers) for each in starts]
    return [*lines, f"  workers began at {' | '.join(begun)} s"]


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--against", type=Path, help="another checkout of raydarts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help="measure a bare Ray with actors that import torch too")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="start"))
    kinds: dict[str, Callable[[], Start]] = {"this checkout": lambda: sweep(HERE, folder)}
    if chosen.against is not None:
        other = chosen.against.resolve()
        kinds = {str(chosen.against): lambda: sweep(other, folder), **kinds}
    if chosen.bare:
        kinds["bare Ray"] = lambda: bare(folder)
    starts: dict[str, list[Start]] = {name: [] for name in kinds}
    try:
        for number in range(chosen.rounds):
            for name, start in kinds.items():
                starts[name].append(start())
                print(
                    f"round {number + 1}, {name}: {starts[name][-1].seconds:.1f} s, CPU {starts[name][-1].total:.1f} s"
                    f" (load of the machine {os.getloadavg()[0]:.1f})",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {chosen.rounds} rounds")
    for name, rounds in starts.items():
        print("\n".join(described(name, rounds)))
    if chosen.json is not None:
        figures = {name: [vars(each) for each in rounds] for name, rounds in starts.items()}
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
