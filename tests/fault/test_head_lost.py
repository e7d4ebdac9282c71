"""The head of a running cluster is lost: the driver says so and ends, and the run goes on elsewhere.

Elsewhere is this process. A resume under real Ray: test_local_ray_lost.py. One on a cluster: cluster/test_submit.py.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raydarts.cluster.head import HEAD_LOST
from raydarts.config.loader import LoadedSpec
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_lines
from raydarts.sweep.runner import run_sweep
from tests.cluster.head import free_port
from tests.fault import fakes
from tests.here import sweeps_run_here

ROOT = Path(__file__).parent.parent.parent
DRIVER = """
import sys
from pathlib import Path
from raydarts.sweep.runner import start_sweep
from tests.fault import fakes
from tests.fault.test_head_lost import sweep

sys.exit(start_sweep(sweep(), Path(sys.argv[1]), builder=fakes.BUILDER, address=sys.argv[2]))
"""


def sweep() -> LoadedSpec:
    return fakes.loaded({"name": "random", "trials": 2}, base={"epochs": 8, "sleep": 0.5})


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@contextmanager
def head(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A head of one CPU on a port of its own; its address, and its process, which leads its group."""
    port = free_port()
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1"]
    start += [f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(start, env=environment(), start_new_session=True, **quiet)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the head does not come up"
                time.sleep(0.2)
        time.sleep(3)  # its raylet joins a little after its port is open
        yield f"127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def drive(folder: Path, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(folder), address]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=pipe, stderr=pipe, text=True)


@pytest.mark.ray
def test_a_lost_head_ends_the_driver_with_words_and_the_run_goes_on_elsewhere(tmp_path: Path) -> None:
    rows = tmp_path / "fake" / "trials" / "0000" / "metrics.jsonl"
    with head(Path("/tmp") / f"rd{os.getpid()}a") as (address, process):
        driver = drive(tmp_path, address)
        deadline = time.monotonic() + 90
        while len(read_lines(rows)) < 3:
            assert time.monotonic() < deadline, "no epoch is reported"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = read_lines(rows)
        _, told = driver.communicate(timeout=90)
    assert driver.returncode == HEAD_LOST, told[-3000:]
    assert "has not answered for 20 s" in told
    assert f"raydarts resume {tmp_path / 'fake'} --address ADDRESS" in told
    run = RunDirectory.open(tmp_path / "fake")
    with sweeps_run_here():
        assert run_sweep(run, sweep(), display=False) == 0
    for trial in run.trials():
        job = fakes.search_job(trial.description(), run.description(), sleep=0)
        assert [row["trace"] for row in trial.rows()] == [job.run_epoch()["trace"] for _ in range(8)]
    assert read_lines(rows)[: len(before)] == before
