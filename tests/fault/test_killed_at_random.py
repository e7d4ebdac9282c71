"""A sweep whose driver is killed again and again ends as one whose driver lives, with no decision made twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.segments import segments_of
from raydarts.runs.whole import open_whole
from raydarts.sweep.runner import start_sweep
from tests.fault import fakes, small_sweeps

ROOT = Path(__file__).parent.parent.parent


def driver(storage: Path, seconds: float, name: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fault.small_sweeps", str(storage), str(seconds), name]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def lines(storage: Path) -> list[str]:
    file = storage / "fake" / "events.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def ends(run: RunDirectory) -> list[tuple[Any, ...]]:
    return [
        (trial.id, (trial.result() or {})["status"], segments_of(trial.description()), traces(trial))
        for trial in run.trials()
    ]


def traces(trial: TrialDirectory) -> list[tuple[int, int, float]]:
    return [(row["epoch"], row.get("segment", 0), row["trace"]) for row in trial.rows()]


@pytest.mark.parametrize("name", list(small_sweeps.SCHEDULERS))
def test_a_sweep_killed_at_random_moments_ends_as_one_that_was_not(tmp_path: Path, name: str) -> None:
    assert small_sweeps.drive(tmp_path / "whole", 0.0, name) == 0
    whole = open_whole(tmp_path / "whole" / "fake")
    draw, kills, seen = random.Random(time.time_ns()), 0, 0
    while kills < 3:
        process = driver(tmp_path / "cut", 0.05, name)
        while len(lines(tmp_path / "cut")) <= seen and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait(timeout=30) == 0:
            break
        kills, seen = kills + 1, len(lines(tmp_path / "cut"))
    before = lines(tmp_path / "cut")
    assert driver(tmp_path / "cut", 0.0, name).wait(timeout=120) == 0
    cut = open_whole(tmp_path / "cut" / "fake")
    assert kills == 3
    assert lines(tmp_path / "cut")[: len(before) - 1] == before[:-1], "what was decided stays"
    assert cut.events() == whole.events()
    wanted = {"pbt": "fork", "hyperband": "pause", "asha, replicates": "pause"}.get(name, "stop")
    assert any(f'"decision": "{wanted}"' in json.dumps(event) for event in cut.events())
    assert ends(cut) == ends(whole)


@pytest.mark.parametrize("name", list(small_sweeps.FUSED))
def test_a_fused_sweep_killed_at_random_moments_loses_nothing(tmp_path: Path, name: str) -> None:
    """Its trials go on from their own checkpoints, some an epoch further on than others of their group."""
    assert small_sweeps.drive(tmp_path / "whole", 0.0, name) == 0
    whole = open_whole(tmp_path / "whole" / "fake")
    assert whole.trial(0).times()[0].get("lanes") == 9
    draw, kills, seen = random.Random(time.time_ns()), 0, 0
    while kills < 2:
        process = driver(tmp_path / "cut", 0.02, name)
        while len(lines(tmp_path / "cut")) <= seen and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait(timeout=30) == 0:
            break
        kills, seen = kills + 1, len(lines(tmp_path / "cut"))
    assert driver(tmp_path / "cut", 0.0, name).wait(timeout=120) == 0
    cut = open_whole(tmp_path / "cut" / "fake")
    assert kills == 2
    assert ends(cut) == ends(whole)


@pytest.mark.usefixtures("ray_session")
def test_under_ray_a_waiting_trial_frees_its_place_and_forks_are_those_of_this_process(tmp_path: Path) -> None:
    """There is one place. All meet only if each lets its place go. What is decided follows from no order of arrival."""
    scheduler = {"name": "pbt", "every": 2, "quantile": 0.5}
    loaded = fakes.loaded({"name": "random", "trials": 4}, scheduler, base={"epochs": 4}, max_concurrent=1)
    assert start_sweep(loaded, tmp_path / "ray", builder=fakes.BUILDER, display=False, command=["test"]) == 0
    with small_sweeps.here.sweeps_run_here():
        assert start_sweep(loaded, tmp_path / "here", builder=fakes.BUILDER, display=False, command=["test"]) == 0
    under_ray, here = (open_whole(tmp_path / each / "fake") for each in ("ray", "here"))
    assert ends(under_ray) == ends(here)
    first = [min(entry["start"] for entry in trial.times() if entry["epoch"] == 3) for trial in under_ray.trials()]
    last = [max(entry["end"] for entry in trial.times() if entry["epoch"] == 2) for trial in under_ray.trials()]
    assert max(last) <= min(first), "none goes on before all have met"
    assert any(len(segments_of(trial.description())) > 1 for trial in under_ray.trials())
