"""A sweep whose local Ray is lost: words, exit code 5, nothing left, and it goes on.

One sweep loses its raylet, then its gcs_server, each in another driver, and is shown on W&B. This is the contract with
real Ray of the tests that end drivers on the local executor. Drivers that are killed: test_paused_trials.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from raydarts.cluster.head import HEAD_LOST
from raydarts.config.loader import load_spec
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_lines
from raydarts.sweeping.runner import start_sweep
from raydarts.trackers.wandb import names, state
from tests.fault.leftovers import check_nothing_stays, started_by
from tests.here import sweeps_run_here
from tests.unit.trackers.stand_in import KEY, StandIn, stand_in

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parent.parent.parent
SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search:
  epochs: 6
  batch_size: 16
  arch_lr: 0.05
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: lr}
  regularizers: [{name: drop_path, probability: 0.2}]
sweep: {searcher: grid, max_failures: 0}
evaluate:
  top_k: 1
  seeds: [3]
  max_failures: 0
  training: {epochs: 30, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0.4}}
track: {wandb: {init_seconds: 90, finish_seconds: 90}}
"""


def environment(folder: Path, url: str) -> dict[str, str]:
    """W&B's client talks to the stand-in, and writes nothing into the home directory of whoever runs the tests."""
    homes = {name: str(folder / "home") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    threads = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return {**os.environ, **homes, **threads, "PYTHONPATH": str(ROOT), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": url}


def raydarts(folder: Path, url: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment(folder, url), stdout=pipe, stderr=pipe, text=True)


def until(true: Callable[[], Any], seconds: float, what: str) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.05)


def lost(driver: subprocess.Popen[str], name: str, run: Path) -> None:
    """Kill the driver's process of this name. The driver ends with words, and nothing that it started stays."""
    before = started_by(driver.pid)
    psutil.Process(before[name][0][0]).kill()
    began = time.monotonic()
    _, told = driver.communicate(timeout=60)
    assert time.monotonic() - began < 30
    check_nothing_stays(before)
    assert driver.returncode == HEAD_LOST, told
    assert f"the local Ray's {name} at " in told
    assert f"go on with: raydarts resume {run}" in told
    assert "Traceback" not in told


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as started:
        yield started


@pytest.fixture
def whole(tmp_path: Path, one_thread: None) -> RunDirectory:
    """The same sweep undisturbed, in this process."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "whole.yaml").write_text(SPEC.partition("track:")[0])
    with sweeps_run_here():
        assert start_sweep(load_spec(tmp_path / "whole.yaml"), tmp_path, display=False) == 0
    return RunDirectory.open(tmp_path / "whole")


def comparable(run: RunDirectory) -> dict[str, Any]:
    """The results of a run without what is measured: seconds and memory."""
    report = results.report_json(run)
    for trial in report["trials"]:
        trial["metrics"] = {k: v for k, v in trial["metrics"].items() if k not in ("seconds", "memory_mb")}
        del trial["seconds"]
    alphas = {trial.id: (trial.result() or {})["result"]["alpha"] for trial in run.trials()}
    parts = {key: report[key] for key in ("trials", "genotypes", "evaluations", "ranking")}
    return json.loads(json.dumps({**parts, "alphas": alphas}))


def test_it_ends_with_words_leaves_nothing_and_goes_on_each_time(
    whole: RunDirectory, server: StandIn, tmp_path: Path
) -> None:
    path = tmp_path / "runs" / "run"
    run = RunDirectory(path)

    def retrained() -> int:
        return sum(len(trial.rows()) for trial in run.evaluations())

    def finished() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in path.glob("*/*/result.json")}

    storage = ("--storage", tmp_path / "runs", "--name", "run")
    driver = raydarts(tmp_path, server.url, "sweep", "spec.yaml", *storage)
    until(lambda: len(read_lines(path / "trials" / "0000" / "metrics.jsonl")) >= 2, 120, "no epoch of a search")
    lost(driver, "raylet", path)

    driver = raydarts(tmp_path, server.url, "resume", path)
    until(lambda: retrained() >= 2, 150, "no epoch of a retraining")
    ended = finished()
    lost(driver, "gcs_server", path)
    assert len(ended) == 2, "it was not killed in the middle of the retraining"

    driver = raydarts(tmp_path, server.url, "resume", path)
    said, told = driver.communicate(timeout=150)
    assert driver.returncode == 0, told
    if any(state.read_trial(trial).state != state.SENT for trial in [*run.trials(), *run.evaluations()]):
        # It was killed between its result and W&B's answer. It is not run again, and the driver names what sends it.
        assert f"raydarts wandb sync {path}" in said + told
        sending = raydarts(tmp_path, server.url, "wandb", "sync", path)
        _, told = sending.communicate(timeout=90)
        assert sending.returncode == 0, told
    assert ended.items() <= finished().items(), "a finished trial was run again"
    for trial, epochs in [*((trial, 6) for trial in run.trials()), *((trial, 30) for trial in run.evaluations())]:
        assert [row["epoch"] for row in trial.rows()] == list(range(1, epochs + 1))
        assert trial.failures() == []  # with max_failures 0 one that is counted would have failed the trial
    assert comparable(run) == comparable(whole)
    check_wandb(server, run)


def check_wandb(server: StandIn, run: RunDirectory) -> None:
    """W&B shows each trial as one run of one sweep, and each epoch once, whatever was killed. No secret is sent."""
    everyone = [*run.trials(), *run.evaluations()]
    assert state.outage(run) is None
    assert set(server.runs) == {names.run_id(run, trial) for trial in everyone}
    ((sweep_id, _),) = server.sweeps.items()
    for trial in everyone:
        shown = server.runs[names.run_id(run, trial)]
        assert state.read_trial(trial).state == state.SENT
        assert [row["epoch"] for row in shown["history"] if "epoch" in row] == [row["epoch"] for row in trial.rows()]
        assert shown["summary"]["status"] == "completed"
    assert [server.runs[names.run_id(run, trial)]["sweep"] for trial in run.trials()] == [sweep_id] * 2
    checkpoints = [name for name in server.artifacts if name.startswith("checkpoint-search")]
    assert 1 <= len(checkpoints) <= 2
    sent = "\n".join(server.bodies)
    assert KEY not in sent
    assert "spec.yaml" not in sent


IDLE = """
import sys, time
from raydarts.runs.directory import RunDirectory
from raydarts.cluster.connection import connect
from raydarts.cluster.head import watched
connect()
with watched(RunDirectory(sys.argv[1]), None):
    print("ready", flush=True)
    time.sleep(120)
"""


def test_between_stages_it_is_noticed_too(tmp_path: Path) -> None:
    """No trial runs then, and nothing asks Ray for anything."""
    command = [sys.executable, "-c", IDLE, str(tmp_path / "run")]
    pipe = subprocess.PIPE
    driver = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    lost(driver, "gcs_server", tmp_path / "run")
