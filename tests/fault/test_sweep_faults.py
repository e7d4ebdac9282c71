"""Sweeps in this process: whole ones, and ones whose trials are lost. Drivers killed: test_paused_trials.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.errors import ResourceError, RunError
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.sweeping.runner import run_sweep, start_sweep
from tests.fault import fakes


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
