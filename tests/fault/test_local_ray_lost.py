"""The local Ray is lost under a sweep, or its driver killed: words, exit code 5, nothing left, and it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from raydarts.cluster.head import HEAD_LOST
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_lines

ROOT = Path(__file__).parent.parent.parent
SPEC = """
data: {dataset: digits, limit: 96, validation_fraction: 0.25}
search:
  seed: {grid: [0, 1]}
  epochs: 25
  batch_size: 16
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
sweep: {searcher: {name: grid}, max_failures: 0}
evaluate:
  top_k: 1
  seeds: [0]
  max_failures: 0
  training: {epochs: 60, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0}}
"""
Named = list[tuple[int, float]]


def raydarts(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "raydarts.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def until(true: Callable[[], Any], seconds: float, what: str) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.05)
    return time.monotonic() - began


def processes(driver: subprocess.Popen[str]) -> dict[str, Named]:
    """All that the driver and its Ray have started, by name."""
    found: dict[str, Named] = {}
    for process in psutil.Process(driver.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found.setdefault(process.name(), []).append((process.pid, process.create_time()))
    return found


def living(named: Named) -> list[str]:
    left = []
    for pid, start in named:
        try:
            process = psutil.Process(pid)
            if process.create_time() == start and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{pid} {process.name()}")
        except psutil.NoSuchProcess:
            pass
    return left


def killed(driver: subprocess.Popen[str], name: str | None) -> tuple[str, Named]:
    """Kill the driver's process of this name (None: the driver); what the driver said, and what there was before."""
    before = processes(driver)
    psutil.Process(driver.pid if name is None else before[name][0][0]).kill()
    began = time.monotonic()
    _, told = driver.communicate(timeout=60)
    assert time.monotonic() - began < 30
    everything = [each for group in before.values() for each in group]
    assert len(everything) >= 6, before  # gcs_server, raylet, its agents and workers: the check saw them
    until(lambda: not living(everything), 8, f"still alive: {living(everything)}")
    return told, everything


def lost(driver: subprocess.Popen[str], name: str, run: Path) -> None:
    told, _ = killed(driver, name)
    assert driver.returncode == HEAD_LOST, told
    assert f"the local Ray's {name} at " in told
    assert f"go on with: raydarts resume {run}" in told
    assert "Traceback" not in told


def test_it_ends_with_words_leaves_nothing_and_goes_on_each_time(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    path = tmp_path / "runs" / "run"
    run = RunDirectory(path)

    def retrained() -> int:
        return sum(len(trial.rows()) for trial in run.evaluations())

    driver = raydarts(tmp_path, "sweep", "spec.yaml", "--storage", str(tmp_path / "runs"), "--name", "run")
    until(lambda: len(read_lines(path / "trials" / "0000" / "metrics.jsonl")) >= 3, 120, "no epoch of a search")
    lost(driver, "raylet", path)

    driver = raydarts(tmp_path, "resume", str(path))
    until(lambda: retrained() >= 3, 150, "no epoch of a retraining")
    lost(driver, "gcs_server", path)

    before = retrained()
    driver = raydarts(tmp_path, "resume", str(path))
    until(lambda: retrained() > before, 120, "it does not go on")
    killed(driver, None)

    driver = raydarts(tmp_path, "resume", str(path))
    _, told = driver.communicate(timeout=150)
    assert driver.returncode == 0, told
    for trial, epochs in [*((trial, 25) for trial in run.trials()), *((trial, 60) for trial in run.evaluations())]:
        assert [row["epoch"] for row in trial.rows()] == list(range(1, epochs + 1))
        assert trial.failures() == []  # with max_failures 0 one that is counted would have failed the trial


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


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_between_stages_it_is_noticed_too(tmp_path: Path, name: str) -> None:
    """No trial runs then, and nothing asks Ray for anything."""
    command = [sys.executable, "-c", IDLE, str(tmp_path / "run")]
    pipe = subprocess.PIPE
    driver = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    lost(driver, name, tmp_path / "run")
