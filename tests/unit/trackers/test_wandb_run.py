"""A trial's W&B run: offline files read back with wandb's own reader, and online against a stand-in that also fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts import trackers
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.storage.files import read_json, write_json
from raydarts.trackers.aside import Aside
from raydarts.trackers.base import scalars
from raydarts.trackers.wandb import WandbSettings, names, recording, state
from raydarts.trackers.wandb.recording import Recording
from tests.synthetic_run import write_run
from tests.unit.trackers.reading import history, records
from tests.unit.trackers.stand_in import KEY, StandIn, stand_in

pytestmark = pytest.mark.slow

SECRET = "hunter2-of-the-environment"
BUSY = {"init_seconds": 60, "finish_seconds": 60}
"""Where W&B answers: a machine may be busy."""
FINISH = 2.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    import wandb

    with stand_in() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        wandb.teardown()  # settings are read from the environment once a process
        yield found
        found.trouble = found.trouble_later = None
        wandb.teardown()


def make(folder: Path, mode: str = "online", **settings: Any) -> tuple[RunDirectory, WandbSettings]:
    """A run of two searches and one genotype's evaluations that asks for tracking."""
    chosen = WandbSettings.model_validate(
        {"mode": mode, "init_seconds": 4, "finish_seconds": FINISH, "media_every": 0, "tags": ("mine",), **settings}
    )
    path = write_run(folder / "syn", trials=2, top_k=1, epochs=3)
    description = read_json(path / "run.json")
    description["spec"]["track"] = {"wandb": chosen.model_dump(mode="json")}
    write_json(path / "run.json", description)
    return RunDirectory.open(path), chosen


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are always written, however busy the machine."""
    monkeypatch.setattr(recording, "_OFFLINE_SECONDS", 200.0)


def record(run: RunDirectory, trial: TrialDirectory) -> state.Tracked:
    """As the worker does; returns what tracking.json says."""
    observers = trackers.observers(trial)
    for row in trial.rows():
        observers.epoch(row)
    observers.finished(trial.result() or {})
    observers.close()
    return state.read_trial(trial)


def epochs(rows: list[dict[str, Any]]) -> list[int]:
    return [row["epoch"] for row in rows if "epoch" in row]


def test_offline_files_hold_config_history_media_artifacts_group_and_sweep(tmp_path: Path) -> None:
    run, _ = make(tmp_path, "offline", media_every=2)
    trial = run.trials()[0]
    what = trial.description()
    what["config"]["estimator"] = {"name": "finite_difference", "xi": "lr", "epsilon": 1}
    trial.create(what)
    assert record(run, trial).state == state.OFFLINE
    assert record(run, trial).state == state.OFFLINE  # again: in place of the first
    found = records(trial.path)
    (opened,) = found["run"]
    config = opened["config"]["update"]
    assert config["estimator"] == {"name": "finite_difference", "xi": "lr", "epsilon": 1}
    assert config["regularizers"]["beta_decay"]["strength"] == what["config"]["regularizers"][0]["strength"]
    assert (opened["run_group"], opened["job_type"], opened["tags"]) == ("syn", "search", ["mine", "search"])
    assert (opened["run_id"], opened["sweep_id"]) == (names.run_id(run, trial), names.sweep_id(run))
    logged_rows = [entry["item"] for entry in found["history"]]
    assert epochs(logged_rows) == [1, 2, 3]
    for row, logged in zip(trial.rows(), logged_rows, strict=False):
        assert logged.items() >= scalars(row).items()
    axes = {metric["name"]: metric.get("step_metric") for metric in found["metric"]}
    assert axes.pop("epoch") is None
    assert set(axes.values()) == {"epoch"}
    media = {key.rsplit(".", 1)[0] for row in logged_rows for key in row if key.endswith("._type")}
    assert media == {"genotype", "arch_weights/normal", "arch_weights/reduce"}
    for entry in found["files"]:
        for file in entry["files"]:
            assert list(trial.path.glob(f"wandb/offline-run-*/files/{file['path']}"))
    assert [artifact["name"] for artifact in found["artifact"]] == [f"genotype-{trial.result()['genotype_id']}"]
    summary: dict[str, Any] = {}
    for entry in found["summary"]:
        summary |= entry["update"]
    losses = [row["weight_loss"] for row in trial.rows()]
    assert summary["weight_loss"] == {"last": losses[-1], "min": min(losses), "max": max(losses)}
    assert summary["status"] == trial.result()["status"]
    assert found["exit"][0]["exit_code"] == (1 if trial.result()["status"] == "failed" else 0)


def test_online_runs_with_lineage_and_without_secrets(tmp_path: Path, server: StandIn) -> None:
    run, _ = make(tmp_path, **BUSY)
    searched, evaluated = run.trials()[0], run.evaluations()[0]
    failed = run.trials()[1]
    result = failed.result() or {}
    failed.write_result({**result, "error": f"ConnectionError: refused {SECRET} and {KEY}"})
    for trial in (searched, failed, evaluated):
        found = record(run, trial)
        assert (found.state, found.reason) == (state.SENT, None)
        assert str(found.url).startswith(server.url)
        assert epochs(server.rows(str(found.id))) == [1, 2, 3]
    ids = [names.run_id(run, trial) for trial in (searched, failed, evaluated)]
    assert [server.runs[each]["exit"] for each in ids] == [0, 1, 0]
    assert [server.runs[each]["jobType"] for each in ids] == ["search", "search", "evaluate"]
    assert {server.runs[each]["group"] for each in ids} == {"syn"}
    genotype = f"genotype-{evaluated.description()['genotype_id']}"
    (artifact,) = [name for name in server.artifacts if name.startswith(genotype)]
    assert server.artifacts[artifact]["run"] == ids[0]
    assert server.used == [(ids[2], artifact)]
    assert server.runs[ids[2]]["summary"]["final"]["test_accuracy"] == evaluated.result()["result"]["test_accuracy"]
    assert server.runs[ids[2]]["config"]["searches_by_genotype"]["value"] == evaluated.description()["trials"]
    told = "\n".join(server.bodies)
    assert "ConnectionError: refused [SOME_TOKEN] and [" in told
    assert SECRET not in told
    assert KEY not in told
    assert "synthetic.yaml" not in told  # the command line


def test_a_restored_trial_continues_its_run_with_each_epoch_once(tmp_path: Path, server: StandIn) -> None:
    run, settings = make(tmp_path, **BUSY)
    trial = run.trials()[0]
    rows, result = trial.rows(), trial.result() or {}
    (trial.path / "result.json").unlink()
    trial.keep_rows(2)
    first = Aside("wandb", trial, lambda: Recording(run, trial, settings), 60.0)
    first.close()  # cut off after two epochs
    assert state.read_trial(trial).status == "interrupted"
    trial.append_row(rows[2])
    trial.write_result(result)
    second = Aside("wandb", trial, lambda: Recording(run, trial, settings), 60.0)
    for row in rows[1:]:  # the second epoch was run again
        second.epoch(row)
    second.finished(result)
    (only,) = server.runs
    assert len([row for row in server.rows(only) if "genotype" in row]) == 1
    assert epochs(server.rows(only)) == [1, 2, 3]
    losses = [row["weight_loss"] for row in rows]
    assert server.runs[only]["summary"]["weight_loss"] == {
        "last": losses[2],
        "min": min(losses),
        "max": max(losses),
    }
    assert server.runs[only]["summary"]["status"] == result["status"]


@pytest.mark.parametrize("trouble", ["slow", "expired", "later slow", "later expired"])
def test_an_outage_costs_one_wait_and_no_data(
    trouble: str, tmp_path: Path, server: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody listens at all: tests/contract/test_trackers.py."""
    if trouble.startswith("later"):
        server.trouble_later = trouble.split()[1]
    else:
        server.trouble = trouble
    run, _ = make(tmp_path, init_seconds=6 if trouble == "slow" else 20)
    first, second = run.trials()
    with caplog.at_level(logging.WARNING, "raydarts"):
        begun = time.time()
        observers = trackers.observers(first)
        for row in first.rows():
            observers.epoch(row)
        assert time.time() - begun < 5  # epochs never wait
        ended = time.time()
        observers.finished(first.result() or {})
        assert read_json(run.path / "wandb-outage.json")["since"] - ended < FINISH + 10  # W&B is waited for no longer
        assert record(run, second).state == state.OFFLINE
    assert state.read_trial(first).state == state.OFFLINE
    assert state.outage(run)
    for trial in (first, second):
        assert epochs(history(trial.path)) == [1, 2, 3]
    told = [entry.message for entry in caplog.records if entry.name == "raydarts"]
    assert len(told) == 1
    assert f"raydarts wandb sync {run.path}" in told[0]


def test_error_in_tracking_never_reaches_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = make(tmp_path, "offline")
    trial = run.trials()[0]
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it raises
    assert record(run, trial).state == state.UNSENT
    (run.path / "run.json").write_text("{}")
    trackers.observers(trial).epoch({"epoch": 1})


def test_a_stale_attempt_does_not_touch_what_a_newer_one_writes(tmp_path: Path) -> None:
    run, _ = make(tmp_path, "offline")
    trial, newer = run.trials()[0], run.trials()[0]
    (trial.path / "result.json").unlink()
    trial.claim()
    newer.claim()
    state.write_trial(newer, state.Tracked(state="running"))
    record(run, trial)
    assert read_json(trial.path / "tracking.json") == {"state": "running"}


WITHOUT = """
import sys
from pathlib import Path
from raydarts import trackers
from raydarts.runs.directory import TrialDirectory
observers = trackers.observers(TrialDirectory(Path(sys.argv[1])))
observers.epoch({"epoch": 1})
observers.close()
assert not [name for name in sys.modules if name.split(".")[0] in ("wandb", "tensorboardX", "matplotlib")]
"""


@pytest.mark.parametrize("mode", ["absent", "disabled"])
def test_wandb_is_not_even_imported_where_it_is_not_asked_for(mode: str, tmp_path: Path) -> None:
    run, _ = make(tmp_path, "disabled")
    if mode == "absent":
        description = read_json(run.path / "run.json")
        del description["spec"]["track"]
        write_json(run.path / "run.json", description)
    command = [sys.executable, "-c", WITHOUT, str(run.trials()[0].path)]
    subprocess.run(command, check=True, timeout=60, env=dict(os.environ))
    assert not (run.trials()[0].path / "tracking.json").exists()


def test_a_service_that_a_parent_process_left_in_the_environment_is_not_used(tmp_path: Path) -> None:
    """It may hold the run of a killed trial, and then refuses the trial's id to the process that goes on."""
    run, _ = make(tmp_path, "offline")
    trial = run.trials()[0]
    command = [sys.executable, "-m", "raydarts.trackers.wandb.recording", str(trial.path)]
    inherited = {**os.environ, "WANDB_SERVICE": f"3-1-unix-{tmp_path / 'gone'}"}
    done = subprocess.run(command, input="{}", capture_output=True, text=True, check=False, timeout=90, env=inherited)
    assert done.returncode == 0, done.stderr
    assert len(list(trial.path.glob("wandb/offline-run-*/*.wandb"))) == 1
