"""What holds for every tracker: it shows each epoch once, never stops a run and never delays it for long."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raydarts import trackers
from raydarts.config.track import TrackSettings
from raydarts.errors import InputError
from raydarts.registry import members
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.storage.files import read_json, write_json
from raydarts.trackers.mlflow import MLflow
from tests.synthetic_run import write_run
from tests.unit.trackers.reading import event_file, history, journal_epochs, mlflow_epochs

pytestmark = pytest.mark.slow

OWN = "tests.contract.faulty_tracker:Faulty"


def break_wandb(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there


def break_tensorboard(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trial / "tensorboard").write_text("a file where its folder goes")


@dataclass(frozen=True)
class Case:
    """`epochs` reads which epochs a tracker has of a trial; `outage` takes its service away, with `broken`."""

    settings: dict[str, Any]
    epochs: Callable[[Path], list[int]]
    broken: dict[str, Any]
    outage: Callable[[Path, pytest.MonkeyPatch], None] | None = None


def break_mlflow(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there


def break_journal(trial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = trial.parent.parent / "optuna.log"
    file.unlink(missing_ok=True)
    file.mkdir()


CASES = {
    "wandb": Case(
        {"mode": "offline", "media_every": 0},
        lambda trial: [row["epoch"] for row in history(trial) if "epoch" in row],
        {"mode": "online", "init_seconds": 5, "finish_seconds": 2},
        break_wandb,
    ),
    "tensorboard": Case(
        {},
        lambda trial: sorted(step for tag, step in event_file(trial) if tag == "weight_loss"),
        {},
        break_tensorboard,
    ),
    "mlflow": Case({}, mlflow_epochs, {}, break_mlflow),
    "optuna_journal": Case({}, journal_epochs, {}, break_journal),
    OWN: Case(
        {},
        lambda trial: [int(line) for line in (trial / "journal").read_text().split() if line.isdigit()],
        {"where": "epoch", "fault": "hangs"},
    ),
}


@pytest.fixture(scope="module")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database: to make one takes ten seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MLflow(MLflow.Settings(uri=f"sqlite:///{file}")).client().search_experiments()
    return file


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mlflow_database: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def tracked(folder: Path, track: dict[str, Any]) -> RunDirectory:
    """A run of two searches that asks for these trackers; the second search failed."""
    path = write_run(folder / "run", trials=2, top_k=0, epochs=3)
    description = read_json(path / "run.json")
    description["spec"]["track"] = TrackSettings.model_validate(track).model_dump(mode="json")
    write_json(path / "run.json", description)
    return RunDirectory.open(path)


def watch(trial: TrialDirectory, upto: int, more: list[dict[str, Any]]) -> None:
    """A process that runs a trial on: `upto` epochs are on disk, and `more` are run here."""
    trial.claim()
    trial.keep_rows(upto)
    observers = trackers.observers(trial)
    for row in more:
        trial.append_row(row)
        observers.epoch(row)
    observers.close()


def test_every_shipped_tracker_has_a_case() -> None:
    assert set(members("tracker")) <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_each_epoch_is_shown_once_of_a_trial_that_was_cut_off_and_of_one_that_failed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raydarts.trackers.wandb import recording

    monkeypatch.setattr(recording, "_OFFLINE_SECONDS", 200.0)  # however busy the machine
    case = CASES[name]
    trackers.check(TrackSettings.model_validate({name: case.settings}), tmp_path)
    run = tracked(tmp_path, {name: case.settings})
    assert not (trackers.begin(run) or "").startswith("tracker")
    going_on, failed = run.trials()
    rows, result = going_on.rows(), going_on.result() or {}
    (going_on.path / "result.json").unlink()
    watch(going_on, 0, rows[:2])  # killed after two epochs, of which the second is run again
    watch(going_on, 1, rows[1:])
    going_on.write_result(result)
    observers = trackers.observers(failed)
    observers.finished(failed.result() or {})
    observers.close()
    assert (failed.result() or {})["status"] == "failed"
    for trial in (going_on, failed):
        assert isinstance(trial.path, Path)
        assert case.epochs(trial.path) == [1, 2, 3]
    assert not (trackers.conclude(run) or "").startswith("tracker")


@pytest.mark.parametrize("name", CASES)
def test_an_outage_stops_nothing_delays_nothing_for_long_and_is_told_once_a_trial(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    run = tracked(tmp_path, {name: case.broken})
    trial = run.trials()[0]
    assert isinstance(trial.path, Path)
    if case.outage is not None:
        case.outage(trial.path, monkeypatch)
    with caplog.at_level(logging.WARNING, "raydarts"):
        observers = trackers.observers(trial)
        began = time.monotonic()
        for row in trial.rows():
            observers.epoch(row)
        assert time.monotonic() - began < 4  # epochs never wait
        observers.finished(trial.result() or {})
        observers.close()
        assert time.monotonic() - began < 45  # W&B's offline file is written meanwhile
    assert len([entry for entry in caplog.records if entry.name == "raydarts"]) == 1


@pytest.mark.parametrize("fault", ["raises", "hangs"])
@pytest.mark.parametrize("where", ["observer", "open", "epoch", "finished", "close", "lost"])
def test_an_observer_that_fails_anywhere_becomes_one_warning(
    where: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracked(tmp_path, {OWN: {"where": where, "fault": fault}, "tensorboard": True})
    trial = run.trials()[0]
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "raydarts"):
        observers = trackers.observers(trial)
        observers.finished(trial.result() or {})
        observers.close()
    assert time.monotonic() - began < 20  # the tracker hangs for 30 s
    assert isinstance(trial.path, Path)
    assert CASES["tensorboard"].epochs(trial.path) == [1, 2, 3]  # the other tracker goes on
    told = [entry.message for entry in caplog.records if entry.name == "raydarts"]
    if where == "lost":  # is not called where nothing failed before
        assert told == []
        return
    (line,) = told
    assert line.startswith(f"0000: tracker {OWN}: ")
    assert ("within 0.3 s" if fault == "hangs" else "ConnectionError: the service is away") in line
    assert line.endswith(": saved elsewhere") == (where != "observer")


@pytest.mark.parametrize("fault", ["raises", "hangs"])
def test_a_driver_that_begins_and_concludes_goes_on_and_says_what_failed(fault: str, tmp_path: Path) -> None:
    for call in ("begin", "conclude"):
        run = tracked(tmp_path / call, {OWN: {"where": call, "fault": fault}, "wandb": {"mode": "offline"}})
        began = time.monotonic()
        told = getattr(trackers, call)(run)
        assert time.monotonic() - began < 20
        first, *others = told.split("\n")
        assert first.startswith(f"tracker {OWN}: ")
        assert ("within 0.3 s" if fault == "hangs" else "ConnectionError: the service is away") in first
        assert len(others) == (call == "conclude")  # W&B says what it has


@pytest.mark.parametrize("fault", ["raises", "hangs"])
def test_a_check_that_fails_refuses_the_run_and_says_what_to_do(fault: str, tmp_path: Path) -> None:
    settings = TrackSettings.model_validate({OWN: {"where": "check", "fault": fault}})
    with pytest.raises(InputError, match=f"track.{OWN}: .*; mend that, or leave track.{OWN} out"):
        trackers.check(settings, tmp_path)


def test_a_tracker_whose_code_is_gone_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracked(tmp_path, {"tensorboard": True})
    description = read_json(run.path / "run.json")
    description["spec"]["track"] = {"module_that_is_gone:Mine": {}, **description["spec"]["track"]}
    write_json(run.path / "run.json", description)
    trial = run.trials()[0]
    with caplog.at_level(logging.WARNING, "raydarts"):
        observers = trackers.observers(trial)
        observers.close()
    assert isinstance(trial.path, Path)
    assert CASES["tensorboard"].epochs(trial.path) == [1, 2, 3]
    assert "tracker module_that_is_gone:Mine is left out" in caplog.text


def test_secrets_are_blotted_out_of_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2-of-the-environment")
    error = ConnectionError("refused\nhunter2-of-the-environment " + "0123456789abcdef" * 3)
    assert trackers.words(error) == "ConnectionError: refused [SOME_TOKEN] [key]"
