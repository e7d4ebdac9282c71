"""Trials that a scheduler pauses, under real Ray: others take their places, and decisions outlive a killed driver."""

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

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.whole import open_whole
from raydarts.sweep.runner import start_sweep
from tests.fault import fakes

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


@pytest.mark.usefixtures("ray_session")
def test_a_driver_killed_while_trials_wait_ends_with_the_same_decisions(tmp_path: Path) -> None:
    def driver(storage: Path, sleep: float) -> subprocess.Popen[bytes]:
        more = {"SLEEP": str(sleep), "TRIALS": "6", "SCHEDULER": json.dumps(HYPERBAND)}
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} | {f"RAYDARTS_TEST_{key}": more[key] for key in more}
        return subprocess.Popen([sys.executable, "-m", "tests.fault.fakes", str(storage)], cwd=ROOT, env=environment)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYDARTS_TEST_TRIALS", "6")
        patch.setenv("RAYDARTS_TEST_SCHEDULER", json.dumps(HYPERBAND))
        assert start_sweep(fakes.slow_optuna(), tmp_path / "whole", builder=fakes.BUILDER, display=False) == 0
    whole = RunDirectory.open(tmp_path / "whole" / "fake")

    first = driver(tmp_path / "cut", 0.4)
    events = tmp_path / "cut" / "fake" / "events.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (events.exists() and '"pause"' in events.read_text()):
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait(timeout=30)
    run = RunDirectory.open(tmp_path / "cut" / "fake")
    before = decisions(run)
    assert before[-1][2] == "pause" or "pause" in {each[2] for each in before}
    assert len(before) < len(decisions(whole))

    assert driver(tmp_path / "cut", 0.0).wait(timeout=240) == 0
    assert decisions(run)[: len(before)] == before
    assert decisions(run) == decisions(whole)
    ends = [[(record.id, record.status, record.epochs) for record in results.trials(each)] for each in (run, whole)]
    assert ends[0] == ends[1]
    assert results.report_json(run)["ranking"] == results.report_json(whole)["ranking"]
