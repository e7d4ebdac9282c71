"""An epoch of a job, timed in this process, and the memory of the tensors that it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from raydarts.cpus import usable_cpus
from raydarts.execution.job import Job
from raydarts.measure import Kept, on_threads, peak_memory_mb
from raydarts.search.fused import FusedSearch
from raydarts.search.search import Search

_QUICK = 8.0
"""Seconds."""


@dataclass(frozen=True)
class Timed:
    """`seconds` of an epoch. `weights`: bytes of the network. `kept`: bytes that a step keeps for its backward pass.

    `peak`: bytes that a GPU's memory held at most; None on a CPU.
    """

    seconds: float
    weights: int
    kept: int
    peak: float | None


class Together:
    """Several searches of like structure as one job, as a process of a sweep runs them."""

    def __init__(self, searches: Sequence[Search]) -> None:
        self._searches = searches
        self._group = FusedSearch()
        self.supernet, self.device = searches[0].supernet, searches[0].device

    @property
    def finished(self) -> bool:
        return bool(self._searches[0].finished)

    def run_epoch(self) -> dict[str, object]:
        for outcome in self._group.run_epoch(self._searches):
            if isinstance(outcome, Exception):
                raise outcome
        return {}


class _Clock:
    """Seconds since the last lap. On a CPU those of this process alone, so that other work on the machine, which may
    end at any moment, does not count: the CPU time of all threads, divided by their number.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()

    def lap(self, threads: int = 1) -> float:
        last, self._last = self._last, self._now()
        return (self._last - last) / (threads if self._device.type == "cpu" else 1)


def timed(build: Callable[[], Job | Together], threads: int, quick: float = _QUICK) -> Timed:
    """Builds a job and times an epoch of it, on so many `threads`.

    The job must have two epochs. The first one has one thread. The second one has all of them, as far as there are
    CPUs, and is left out if the first one took `quick` seconds and there is only one thread. What counts is the second
    one, or the first one if that took less. Several threads share the work of a small network badly, and on a busy
    machine they wait for one another.
    """
    threads = min(threads, usable_cpus())
    with on_threads(1):
        job: Any = build()
        kept = Kept()
        device = getattr(job, "device", torch.device("cpu"))
        clock = _Clock(device)
        with kept.counting():
            job.run_epoch()
        seconds = clock.lap()
        if not job.finished and (threads > 1 or seconds < quick):
            with on_threads(threads):
                job.run_epoch()
            again = clock.lap(threads)
            seconds = again if device.type == "cuda" else min(seconds, again)
        network = getattr(job, "network", None) or getattr(job, "supernet", None)
        weights = sum(each.numel() * each.element_size() for each in network.parameters()) if network is not None else 0
        peak = peak_memory_mb(device) * 2**20 if device.type == "cuda" else None
        return Timed(seconds, weights, kept.most, peak)
