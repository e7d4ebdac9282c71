"""Sweeps without Ray: the local executor takes the place of Tune. What is tested is the logic of sweeps.

Inside `sweeps_run_here` time is a number that `sleep` adds to, so that budgets are spent to the second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from raydarts.cluster import resources
from raydarts.execution import drive, group, local
from raydarts.execution.trial import SweepTrial
from raydarts.runs import faults

_now: list[float] = []
"""The time in seconds, while sweeps run here."""
_given: list[Any] = []
"""What the trial was given that has its turn."""


class _Trial(SweepTrial):
    def step(self) -> dict[str, Any]:
        _given[:] = [self._config]
        return super().step()

    def begin(self) -> dict[str, Any]:
        _given[:] = [self._config]
        return super().begin()


def sleep(seconds: float) -> None:
    """Let time pass."""
    if _now:
        _now[0] += seconds
    elif seconds:
        time.sleep(seconds)


def _tick() -> float:
    """The time. Each look at the clock takes a millisecond."""
    _now[0] += 0.001
    return _now[0]


def lose(what: str) -> None:
    """Raise what stands for the end of a process where sweeps run here. Else return."""
    if _now:
        raise local.LostError(what)


def given_gpus() -> float:
    """The share of a GPU that the running trial has, as Ray or the local executor gave it."""
    if _now:
        return float(_given[0]["gpus"])
    import ray

    return float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))


@contextmanager
def sweeps_run_here() -> Iterator[None]:
    """Inside, a sweep's trials run in this process, two in turn: no Ray is started. A GPU is there that is not used."""
    from raydarts.cluster import gate

    gate.prepare(None)  # what comes next may be the first to import Ray in this process
    from raydarts.sweeping import engine, runner

    def no_ray(*_: Any) -> Any:
        return nullcontext()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "TuneExecutor", local.LocalExecutor)
        for module in (local, group):
            patch.setattr(module, "SweepTrial", _Trial)
        patch.setattr(runner, "connected", no_ray)
        patch.setattr(runner, "watched", no_ray)
        patch.setattr(resources, "capacity", lambda address=None: {"cpus": 2.0, "gpus": 1.0})
        for module in (drive, faults, group):
            patch.setattr(module, "time", SimpleNamespace(time=_tick))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the fastest for networks this small
        patch.setattr(torch, "set_num_threads", lambda number: None)
        _now[:] = [time.time()]
        try:
            yield
        finally:
            _now.clear()
            patch.undo()
            torch.set_num_threads(threads)
