"""A driver of a small sweep, which is to be killed. Its trials run in its process, one at a time, in a fixed order."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.runs.directory import RunDirectory
from raydarts.sweeping.runner import run_sweep, start_sweep
from tests import here, lanes
from tests.fault import fakes

SCHEDULERS: dict[str, dict[str, Any]] = {
    "pbt": {"scheduler": {"name": "pbt", "every": 2, "quantile": 0.5}},
    "asha": {"scheduler": {"name": "asha", "grace_period": 2}},
    "asha, replicates": {"scheduler": {"name": "asha", "grace_period": 2}, "replicates": [0, 1]},
    "median": {"scheduler": {"name": "median", "grace_period": 2, "min_trials": 1}},
    "hyperband": {"scheduler": {"name": "hyperband", "reduction_factor": 2}},
}
FUSED: dict[str, dict[str, Any]] = {
    f"fused {name}": {**SCHEDULERS[name], "fuse": 9, "max_concurrent": 9} for name in ("pbt", "asha", "hyperband")
}
"""All trials run together in one process."""


def loaded(name: str) -> LoadedSpec:
    more: dict[str, Any] = {"max_concurrent": 1, **({**SCHEDULERS, **FUSED}[name])}
    if name in FUSED:
        more["search"] = {**fakes.SEARCH, "estimator": "first_order"}
    return fakes.loaded({"name": "random", "trials": 9}, base={"epochs": 8}, **more)


def drive(storage: Path, seconds: float, name: str) -> int:
    """Begin the run, or go on with it. Each epoch takes `seconds`."""
    run_epoch = fakes.FakeJob.run_epoch

    def slow(job: fakes.FakeJob) -> dict[str, object]:
        time.sleep(seconds)
        return run_epoch(job)

    path = storage / "fake"
    with here.sweeps_run_here(), lanes.scripted_lanes(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fakes.FakeJob, "run_epoch", slow)
        if path.exists():
            return run_sweep(RunDirectory.open(path), loaded(name), display=False)
        return start_sweep(loaded(name), storage, builder=fakes.BUILDER, display=False, command=["test"])
