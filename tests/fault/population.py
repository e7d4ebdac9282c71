"""`python -m tests.fault.population STORAGE SECONDS`: a driver of a small population, which is to be killed.

Its trials run in this process, one at a time, in one fixed order. Each epoch takes SECONDS.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.runs.directory import RunDirectory
from raydarts.sweep.runner import run_sweep, start_sweep
from tests import here
from tests.fault import fakes


def loaded() -> LoadedSpec:
    scheduler = {"name": "pbt", "every": 2, "quantile": 0.5}
    return fakes.loaded({"name": "random", "trials": 6}, scheduler, base={"epochs": 8}, max_concurrent=1)


def drive(storage: Path, seconds: float) -> int:
    """Begin the run, or go on with it."""
    run_epoch = fakes.FakeJob.run_epoch

    def slow(job: fakes.FakeJob) -> dict[str, object]:
        time.sleep(seconds)
        return run_epoch(job)

    path = storage / "fake"
    with here.sweeps_run_here(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fakes.FakeJob, "run_epoch", slow)
        if path.exists():
            return run_sweep(RunDirectory.open(path), loaded(), display=False)
        return start_sweep(loaded(), storage, builder=fakes.BUILDER, display=False, command=["test"])


if __name__ == "__main__":
    sys.exit(drive(Path(sys.argv[1]), float(sys.argv[2])))
