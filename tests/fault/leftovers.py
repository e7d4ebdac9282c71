"""What a driver and its Ray have started, and whether any of it stays."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

Processes = dict[str, list[tuple[int, float]]]
"""Of each name the processes by number and start."""


def started_by(pid: int) -> Processes:
    """All that a driver and its Ray have started."""
    processes: Processes = {}
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            processes.setdefault(process.name(), []).append((process.pid, process.create_time()))
    return processes


def check_nothing_stays(before: Processes, seconds: float = 15) -> None:
    """Wait until all of them have ended. `before`: what there was while the driver ran."""
    everything = [each for group in before.values() for each in group]
    assert len(everything) >= 6, before  # gcs_server, raylet, its agents and workers: the check saw them
    deadline = time.monotonic() + seconds
    while left := _living(everything):
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.05)


def _living(processes: list[tuple[int, float]]) -> list[str]:
    left = []
    for pid, start in processes:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == start and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{pid} {process.name()}")
    return left
