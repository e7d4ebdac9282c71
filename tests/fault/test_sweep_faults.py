"""Sweeps: whole ones, ones whose trials are lost, and ones whose driver is killed, which are through real Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.errors import ResourceError, RunError
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.sweep.runner import run_sweep, start_sweep
from tests.fault import fakes
from tests.here import sweeps_run_here

ROOT = Path(__file__).parent.parent.parent


def sweep(folder: Path, loaded: LoadedSpec) -> tuple[int, RunDirectory]:
    code = start_sweep(loaded, folder, builder=fakes.BUILDER, display=False, command=["test"])
    return code, RunDirectory.open(folder / "fake")


@pytest.mark.usefixtures("local_sweeps")
def test_both_stages_run_and_rank(tmp_path: Path) -> None:
    code, run = sweep(tmp_path, fakes.loaded(evaluate={"top_k": 2, "seeds": [0, 1]}))
    report = results.report_json(run)
    assert code == 0
    assert report["status"] == "completed"
    assert [trial["status"] for trial in report["trials"]] == ["completed"] * 4
    assert all(trial["epochs"] == 4 for trial in report["trials"])
    assert len(report["evaluations"]) == 2 * sum(decision["promoted"] for decision in report["promotion"])
    assert report["ranking"][0]["n"] == 2
    assert report["ranking"][0]["validation_mean"] == pytest.approx(0.505)
    json.dumps(report, allow_nan=False)


@pytest.mark.usefixtures("local_sweeps")
def test_a_failing_trial_is_recorded_and_not_retried(tmp_path: Path) -> None:
    code, run = sweep(tmp_path, fakes.loaded(per_trial={1: {"fail_at": 2}}))
    found = results.trials(run)
    assert code == 1
    assert [record.status for record in found] == ["completed", "failed", "completed", "completed"]
    assert found[1].epochs == 1
    assert "the fake fails here" in found[1].result["error"]
    assert "Traceback" in found[1].result["traceback"]


@pytest.mark.usefixtures("local_sweeps")
@pytest.mark.parametrize("trouble", ["kill_once", "io_error_once"])
def test_a_lost_process_goes_on_from_its_checkpoint(tmp_path: Path, trouble: str) -> None:
    marker = tmp_path / "marker"
    code, run = sweep(tmp_path, fakes.loaded(per_trial={0: {trouble: str(marker)}}))
    _, whole = sweep(tmp_path / "whole", fakes.loaded())
    assert code == 0
    assert marker.exists()
    assert run.trial(0).rows() == whole.trial(0).rows()


@pytest.mark.usefixtures("local_sweeps")
def test_asha_stops_trials_and_says_so(tmp_path: Path) -> None:
    asha = {"name": "asha", "grace_period": 1, "reduction_factor": 2}
    searcher = {"name": "random", "trials": 8}
    code, run = sweep(tmp_path, fakes.loaded(searcher, asha, max_concurrent=1, base={"epochs": 4}))
    found = results.trials(run)
    assert code == 0
    stopped = [record for record in found if record.status == "stopped"]
    assert stopped
    assert all(record.epochs < 4 and record.genotype_id for record in stopped)
    best = max(found, key=lambda record: record.description["config"]["lr"])
    assert best.status == "completed"


@pytest.mark.usefixtures("local_sweeps")
def test_resuming_a_finished_run_runs_nothing(tmp_path: Path) -> None:
    _, run = sweep(tmp_path, fakes.loaded(evaluate={"top_k": 1, "seeds": [0]}))
    owners = [trial.owner() for trial in (*run.trials(), *run.evaluations())]
    assert run_sweep(run, fakes.loaded(evaluate={"top_k": 1, "seeds": [0]}), display=False) == 0
    assert [trial.owner() for trial in (*run.trials(), *run.evaluations())] == owners


def test_too_many_gpus_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    loaded = fakes.loaded(resources={"cpus": 1, "gpus": 64})
    with pytest.raises(ResourceError, match=r"sweep\.resources\.gpus: 64"):
        start_sweep(loaded, tmp_path, display=False)
    assert not list(tmp_path.iterdir())


def test_a_run_that_exists_is_not_begun_again(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "fake", kind="sweep", spec={})
    with pytest.raises(RunError, match="raydarts resume"):
        start_sweep(fakes.loaded(), tmp_path, display=False)


def _driver(storage: Path, sleep: float, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAYDARTS_TEST_SLEEP": str(sleep),
        "RAYDARTS_TEST_LOG": str(log),
    }
    return subprocess.Popen([sys.executable, "-m", "tests.fault.fakes", str(storage)], cwd=ROOT, env=environment)


def _summary(run: RunDirectory) -> Any:
    report = results.report_json(run)
    trials = [(trial["id"], trial["status"], trial["choices"], trial["metrics"]) for trial in report["trials"]]
    return trials, report["promotion"], report["evaluations"], report["ranking"]


def test_a_killed_driver_resumes_to_the_same_end(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    with sweeps_run_here():
        code, whole = sweep(tmp_path / "whole", fakes.slow_optuna())
    assert code == 0

    driver = _driver(cut, 0.4, tmp_path / "first.log")
    deadline = time.monotonic() + 120
    begun = cut / "fake" / "trials" / "0003" / "metrics.jsonl"
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait(timeout=30)
    run = RunDirectory.open(cut / "fake")
    finished = [trial.id for trial in run.trials() if trial.result()]
    assert "0003" not in finished
    assert len(finished) == 3

    assert _driver(cut, 0.0, tmp_path / "second.log").wait(timeout=240) == 0
    again = (tmp_path / "second.log").read_text().split()
    assert not set(again) & {"0", "1", "2"}
    assert _summary(run) == _summary(whole)


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    driver = _driver(tmp_path, 0.4, tmp_path / "log")
    deadline = time.monotonic() + 120
    while not (tmp_path / "fake/trials/0000/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=60) == 130
    assert results.run_status(RunDirectory.open(tmp_path / "fake")) == "interrupted"
