"""Trials that a scheduler pauses, under real Ray: others take their places, and decisions outlive a killed driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import run_sweep, start_sweep
from tests.fault import fakes
from tests.fault.leftovers import check_nothing_stays, started_by
from tests.here import sweeps_run_here

ROOT = Path(__file__).parent.parent.parent
HYPERBAND = {"name": "hyperband", "reduction_factor": 2}
"""Of 6 trials of 4 epochs: 3 that run to their end, and 3 of which the best 2 go on after epoch 2."""


def decisions(run: RunDirectory) -> list[tuple[Any, ...]]:
    return [
        (event["index"], event["epoch"], event["decision"], str(event.get("others", "")))
        for event in run.events()
        if event["event"] == "decide"
    ]


def alone(trial: TrialDirectory) -> list[float]:
    """What the trial's job reports where nobody pauses it."""
    job = fakes.FakeJob(trial.description()["config"], "search")
    return [job.run_epoch()["trace"] for _ in range(4)]


@pytest.mark.usefixtures("ray_session")
def test_a_paused_trial_frees_its_place_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    searcher = {"name": "random", "trials": 6}
    loaded: Any = fakes.loaded(searcher, HYPERBAND, max_concurrent=1, base={"sleep": 0.05})
    assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False, command=["test"]) == 0
    run = open_whole(tmp_path / "fake")
    group = run.trials()[3:]
    assert [each[:3] for each in decisions(run) if each[2] != "continue"][:2] == [(3, 2, "pause"), (4, 2, "pause")]
    assert sorted(len(trial.rows()) for trial in group) == [2, 4, 4]
    assert [record.status for record in results.trials(run)].count("stopped") == 1
    for trial in run.trials():
        rows = [row["trace"] for row in trial.rows()]
        assert rows == alone(trial)[: len(rows)]
        assert len(trial.times()) == len(rows), "no epoch is run twice"
    # There is one place. So others can run between two epochs of a trial only where it has let its place go.
    survivor = next(trial for trial in group[:2] if len(trial.rows()) == 4)
    second, third = survivor.times()[1:3]
    last = group[2].times()[1]
    assert second["end"] <= last["start"]
    assert last["end"] <= third["start"]


def driver(storage: Path, sleep: float) -> subprocess.Popen[bytes]:
    """One that starts, or resumes, the sweep of `fakes.slow_optuna` under real Ray."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAYDARTS_TEST_SLEEP": str(sleep)}
    return subprocess.Popen([sys.executable, "-m", "tests.fault.fakes", str(storage)], cwd=ROOT, env=environment)


def summary(run: RunDirectory) -> Any:
    report = results.report_json(run)
    trials = [(trial["id"], trial["status"], trial["choices"], trial["metrics"]) for trial in report["trials"]]
    return trials, report["promotion"], report["evaluations"], report["ranking"]


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the sweep did not get that far"
        time.sleep(0.05)


@pytest.mark.usefixtures("ray_session")
def test_interrupted_and_killed_while_trials_wait_it_ends_with_the_same_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the first driver in order, SIGKILL the second one; the third one goes on to the end."""
    monkeypatch.setenv("RAYDARTS_TEST_TRIALS", "6")
    monkeypatch.setenv("RAYDARTS_TEST_SCHEDULER", json.dumps(HYPERBAND))
    with sweeps_run_here():
        assert start_sweep(fakes.slow_optuna(), tmp_path / "whole", builder=fakes.BUILDER, display=False) == 0
    whole = RunDirectory.open(tmp_path / "whole" / "fake")
    folder = tmp_path / "cut" / "fake"

    first = driver(tmp_path / "cut", 0.4)
    until((folder / "trials/0000/metrics.jsonl").exists)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=60) == 130
    run = RunDirectory.open(folder)
    assert results.run_status(run) == "interrupted"

    second = driver(tmp_path / "cut", 0.4)
    until(lambda: '"pause"' in (folder / "events.jsonl").read_text())
    started = started_by(second.pid)
    second.send_signal(signal.SIGKILL)
    second.wait(timeout=30)
    check_nothing_stays(started)
    before = decisions(run)
    assert "pause" in {each[2] for each in before}
    assert len(before) < len(decisions(whole))
    finished = {trial.id: trial.owner() for trial in run.trials() if trial.result()}
    assert set(finished) == {"0000", "0001", "0002"}

    assert run_sweep(run, fakes.slow_optuna(), display=False) == 0  # by this process, whose Ray is another one
    assert {trial.id: trial.owner() for trial in run.trials()[:3]} == finished, "a finished trial was run again"
    assert decisions(run)[: len(before)] == before
    assert decisions(run) == decisions(whole)
    assert summary(run) == summary(whole)
