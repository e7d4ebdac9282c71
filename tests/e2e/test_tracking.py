"""Real sweeps through real Ray that are tracked: offline, online against a stand-in, killed, and with W&B away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_lines
from raydarts.trackers.wandb import names, state
from tests.unit.trackers.reading import event_file, history
from tests.unit.trackers.stand_in import KEY, StandIn, stand_in

SPEC = """
data: {dataset: digits, limit: 120, validation_fraction: 0.25}
search:
  epochs: 3
  batch_size: 16
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: lr}
sweep: {searcher: grid, max_concurrent: 1}
evaluate:
  top_k: 1
  seeds: [0]
  training: {epochs: 2, batch_size: 16, network: {channels: 2, layers: 3, auxiliary_weight: 0}}
track:
  tensorboard: true
  wandb: {init_seconds: 5, finish_seconds: 5}
"""


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


def environment(folder: Path, url: str) -> dict[str, str]:
    """Nothing is read from or written to the home of whoever runs the tests."""
    own = {name: str(folder / "home") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")}
    return {**os.environ, **own, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": url, "OMP_NUM_THREADS": "1"}


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]


def raydarts(folder: Path, url: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    env = environment(folder, url)
    done = subprocess.run(
        command(*arguments), cwd=folder, env=env, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def sweep(folder: Path, url: str, *sets: str) -> tuple[RunDirectory, str, float]:
    (folder / "spec.yaml").write_text(SPEC)
    begun = time.monotonic()
    given = [item for each in sets for item in ("--set", each)]
    done = raydarts(folder, url, "sweep", "spec.yaml", "--storage", folder, "--name", "run", *given)
    return RunDirectory.open(folder / "run"), done.stdout + done.stderr, time.monotonic() - begun


def test_offline_then_sent_on_a_sweep_page(tmp_path: Path, server: StandIn) -> None:
    run, told, _ = sweep(tmp_path, server.url, "track.wandb.mode=offline")
    everyone = [*run.trials(), *run.evaluations()]
    assert len(everyone) == 3
    assert not server.seen
    assert f"raydarts wandb sync {run.path}" in told.replace("\n", "")
    for trial in everyone:
        rows = [row for row in history(trial.path) if "epoch" in row]
        assert [row["epoch"] for row in rows] == [row["epoch"] for row in trial.rows()]
    assert any("arch_weights/normal._type" in row for row in history(run.trials()[0].path))
    for trial in everyone:
        keys = [key for key, value in trial.rows()[0].items() if isinstance(value, int | float) and key != "epoch"]
        wanted = {(key, row["epoch"]): row[key] for row in trial.rows() for key in keys if row.get(key) is not None}
        assert event_file(trial.path) == pytest.approx(wanted, rel=1e-6)
    done = raydarts(tmp_path, server.url, "wandb", "sync", run.path)
    assert "3 run(s) sent" in done.stdout
    assert set(server.runs) == {names.run_id(run, trial) for trial in everyone}
    assert len(server.sweeps) == 1


def test_online_and_killed_every_epoch_is_there_once(tmp_path: Path, server: StandIn) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    path = tmp_path / "run"
    patient = ("--set", "track.wandb.init_seconds=90", "--set", "track.wandb.finish_seconds=90")  # a busy machine
    begin = command("sweep", "spec.yaml", "--storage", tmp_path, "--name", "run", *patient)
    with (tmp_path / "log").open("w") as log:
        env = environment(tmp_path, server.url)
        driver = subprocess.Popen(begin, cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True)
        limit = time.monotonic() + 120
        while len(read_lines(path / "trials" / "0000" / "metrics.jsonl")) < 2:
            assert time.monotonic() < limit, (tmp_path / "log").read_text()
            time.sleep(0.02)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    raydarts(tmp_path, server.url, "resume", path)
    run = RunDirectory.open(path)
    everyone = [*run.trials(), *run.evaluations()]
    assert state.outage(run) is None
    assert set(server.runs) == {names.run_id(run, trial) for trial in everyone}
    ((sweep_id, _),) = server.sweeps.items()
    for trial in everyone:
        found = server.runs[names.run_id(run, trial)]
        assert state.read_trial(trial).state == state.SENT
        assert [row["epoch"] for row in found["history"] if "epoch" in row] == [row["epoch"] for row in trial.rows()]
        assert found["summary"]["status"] == "completed"
    assert [server.runs[names.run_id(run, trial)]["sweep"] for trial in run.trials()] == [sweep_id] * 2
    checkpoints = [name for name in server.artifacts if name.startswith("checkpoint-search")]
    assert 1 <= len(checkpoints) <= 2
    told = "\n".join(server.bodies)
    assert KEY not in told
    assert "spec.yaml" not in told


def test_a_w_and_b_that_answers_nothing_costs_a_sweep_seconds(tmp_path: Path, server: StandIn) -> None:
    one = ("evaluate=null", "search.estimator=first_order")
    _, _, alone = sweep(tmp_path, server.url, "track=null", *one)
    assert not server.seen
    server.trouble = "slow"
    away = tmp_path / "away"
    away.mkdir()
    run, told, taken = sweep(away, server.url, *one)
    assert taken < 2 * alone + 60  # 5 s once for the sweep; then files are written, on a machine that may be busy
    assert f"Filesarewritteninstead;'raydartswandbsync{run.path}'" in "".join(told.split())
    (trial,) = run.trials()
    assert state.read_trial(trial).state == state.OFFLINE
    assert len([row for row in history(trial.path) if "epoch" in row]) == len(trial.rows())
