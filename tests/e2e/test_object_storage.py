"""A sweep whose run lies in an object store: cut off from the store, killed, resumed, reported.

Two drivers run under real Ray. The third one, which has nothing to endure, runs its trials in this process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raydarts import cli
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.storage.place import place_of, read_bytes
from raydarts.sweeping.runner import run_sweep, start_sweep
from tests.fault import fakes
from tests.here import sweeps_run_here
from tests.objects import S3, SECRET

ROOT = Path(__file__).parent.parent.parent
TRIALS = "3"


def driver(storage: object, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """One that starts, or resumes, the sweep of `fakes.slow_optuna`."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "RAYDARTS_TEST_LOG": str(folder / "log"), **environment}
    given["RAYDARTS_TEST_TRIALS"] = TRIALS
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fault.fakes", str(storage)], cwd=ROOT, env=given, stdout=output, stderr=output
        )


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the sweep did not get that far"
        time.sleep(0.1)


def until_reported(run: RunDirectory, index: int, folder: Path) -> None:
    """Wait for an epoch of a trial. Only once a driver's log names the trial is the store asked, which takes CPU."""
    log = folder / "log"
    until(lambda: log.exists() and str(index) in log.read_text().split() and run.trial(index).rows())


def summary(run: RunDirectory) -> Any:
    report = results.report_json(run)
    trials = [(trial["id"], trial["status"], trial["choices"], trial["metrics"]) for trial in report["trials"]]
    rows = [trial.rows() for trial in run.trials()]
    return trials, rows, report["promotion"], report["evaluations"], report["ranking"]


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the sweep comes to on a disk, undisturbed, in this process."""
    monkeypatch.setenv("RAYDARTS_TEST_TRIALS", TRIALS)
    with sweeps_run_here():
        assert start_sweep(fakes.slow_optuna(), tmp_path / "local", builder=fakes.BUILDER, display=False) == 0
    return summary(RunDirectory.open(tmp_path / "local" / "fake"))


@pytest.fixture
def own_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server that may be stopped."""
    server = S3()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def everything(place: Any) -> list[bytes]:
    from pyarrow.fs import FileSelector

    listed = place.filesystem.get_file_info(FileSelector(place.key, recursive=True))
    return [place.filesystem.open_input_stream(info.path).readall() for info in listed if info.is_file]


@pytest.mark.ray
def test_cut_off_killed_and_cut_off_for_a_moment_it_ends_as_on_a_disk(
    local: Any, own_s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = place_of("s3://bucket/runs")
    run = RunDirectory(storage / "fake")
    first = driver(storage, tmp_path, RAYDARTS_TEST_SLEEP="0.4")
    until_reported(run, 0, tmp_path)
    own_s3.stop()
    time.sleep(2)
    own_s3.start()
    until_reported(run, 1, tmp_path)  # it went on by itself
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=30)
    assert [trial.id for trial in run.trials() if trial.result()] == ["0000"]
    assert (tmp_path / "log").read_text().split() == ["0", "1"]  # none was begun twice
    assert not run.in_use()
    reported = run.trial(1).rows()

    second = driver(storage, tmp_path, RAYDARTS_TEST_SLEEP="0.2", RAYDARTS_STORAGE_RETRY_SECONDS="0")
    until_reported(run, 2, tmp_path)
    own_s3.stop()  # for good, as far as this driver waits
    code = second.wait(timeout=240)
    own_s3.start()
    output = (tmp_path / "output").read_text()
    assert code == 4, output
    assert "the storage does not answer as it should" in output
    assert "raydarts resume" in output
    assert "failed" not in [trial["status"] for trial in results.report_json(run)["trials"]]

    (tmp_path / "log").unlink()
    monkeypatch.setenv("RAYDARTS_TEST_LOG", str(tmp_path / "log"))
    with sweeps_run_here():
        assert run_sweep(run, fakes.slow_optuna(), display=False) == 0
    assert summary(run) == local
    assert run.trial(1).rows()[: len(reported)] == reported
    assert (tmp_path / "log").read_text().split() == ["2", "evaluation"]  # 0 and 1 are not run again
    _commands_read_it(run, tmp_path)
    held = everything(storage)
    assert len(held) > 30
    assert not any(SECRET.encode() in content for content in held)
    assert SECRET not in (tmp_path / "output").read_text()


def _commands_read_it(run: RunDirectory, folder: Path) -> None:
    shown = CliRunner().invoke(cli.app, ["report", str(run.path), "--json"])
    assert json.loads(shown.stdout)["status"] == "completed"
    path, table = str(run.path), str(folder / "table.csv")
    for command in (
        ["status", path],
        ["export", path, "--to", table],
        ["compare", path, path],
        ["report", path, "--html"],
    ):
        assert CliRunner().invoke(cli.app, command).exit_code == 0, command
    assert b"<html" in read_bytes(run.path / "report.html")[:200]
    assert not (ROOT / "s3:").exists()
