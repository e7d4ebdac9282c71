"""Sweeps that are tracked: offline and then sent, and with W&B away. Online, and killed: fault/test_local_ray_lost.py.

Trials run in this process. A tracker is told of epochs by the attempt that runs them, here as under Ray.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.trackers.wandb import names, state
from tests.commands import Outcome, run_here
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


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_sweeps")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Nothing is read from or written to the home of whoever runs the tests."""
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    import wandb

    with stand_in() as started:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", started.url)
        wandb.teardown()  # settings are read from the environment once a process
        yield started
        started.trouble = started.trouble_later = None
        wandb.teardown()


def sweep(folder: Path, *sets: str) -> tuple[RunDirectory, Outcome]:
    (folder / "spec.yaml").write_text(SPEC)
    chosen = [item for each in sets for item in ("--set", each)]
    done = run_here("sweep", "spec.yaml", "--storage", folder, "--name", "run", *chosen, cwd=folder)
    assert done.code == 0, done.out + done.err
    return RunDirectory.open(folder / "run"), done


def test_offline_then_sent_on_a_sweep_page(tmp_path: Path, server: StandIn) -> None:
    run, done = sweep(tmp_path, "track.wandb.mode=offline")
    everyone = [*run.trials(), *run.evaluations()]
    assert len(everyone) == 3
    assert not server.seen
    assert f"raydarts wandb sync {run.path}" in (done.out + done.err).replace("\n", "")
    for trial in everyone:
        rows = [row for row in history(trial.path) if "epoch" in row]
        assert [row["epoch"] for row in rows] == [row["epoch"] for row in trial.rows()]
    assert any("arch_weights/normal._type" in row for row in history(run.trials()[0].path))
    for trial in everyone:
        keys = [key for key, value in trial.rows()[0].items() if isinstance(value, int | float) and key != "epoch"]
        wanted = {(key, row["epoch"]): row[key] for row in trial.rows() for key in keys if row.get(key) is not None}
        assert event_file(trial.path) == pytest.approx(wanted, rel=1e-6)
    done = run_here("wandb", "sync", run.path)
    assert done.code == 0, done.out + done.err
    assert "3 run(s) sent" in done.out
    assert set(server.runs) == {names.run_id(run, trial) for trial in everyone}
    assert len(server.sweeps) == 1


def test_a_w_and_b_that_answers_nothing_costs_a_sweep_seconds(
    tmp_path: Path, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    server.trouble = "slow"
    begun = time.monotonic()
    run, done = sweep(tmp_path, "evaluate=null", "search.estimator=first_order")
    assert (
        time.monotonic() - begun < 60
    )  # 5 s once for the sweep; then files are written, on a machine that may be busy
    assert f"Filesarewritteninstead;'raydartswandbsync{run.path}'" in "".join(
        (done.out + done.err + caplog.text).split()
    )
    (trial,) = run.trials()
    assert state.read_trial(trial).state == state.OFFLINE
    assert len([row for row in history(trial.path) if "epoch" in row]) == len(trial.rows())
