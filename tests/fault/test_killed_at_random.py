"""A sweep whose driver is killed again and again ends as one whose driver lives, with no decision made twice."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.segments import segments_of
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import start_sweep
from tests import forked
from tests.fault import fakes, small_sweeps

EPOCH = 0.03  # seconds


class Reached:
    """Whether the log of a sweep has this many lines."""

    def __init__(self, storage: Path, number: int) -> None:
        self._storage, self._number = storage, number

    def __call__(self) -> bool:
        return len(lines(self._storage)) >= self._number


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
    storage, draw = tmp_path / "cut", random.Random(time.time_ns())
    for kill in (1, 2, 3):
        last = len(whole.events()) * kill // 4
        number = draw.randint(min(len(lines(storage)) + 1, last), last)
        moment = (Reached(storage, number), draw.uniform(0.0, EPOCH))
        process = forked.start(small_sweeps.drive, storage, EPOCH, name, kill=moment)
        assert forked.ended(process) == -signal.SIGKILL
    before = lines(storage)
    assert len(before) < len(whole.events())
    assert forked.ended(forked.start(small_sweeps.drive, storage, 0.0, name)) == 0
    cut = open_whole(tmp_path / "cut" / "fake")
    assert lines(storage)[: len(before) - 1] == before[:-1], "what was decided stays"
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
    storage, draw = tmp_path / "cut", random.Random(time.time_ns())
    for kill in (1, 2):
        last = len(whole.events()) * kill // 3
        number = draw.randint(min(len(lines(storage)) + 1, last), last)
        moment = (Reached(storage, number), draw.uniform(0.0, 9 * EPOCH / 2))
        process = forked.start(small_sweeps.drive, storage, EPOCH / 2, name, kill=moment)
        assert forked.ended(process) == -signal.SIGKILL
    before = lines(storage)
    assert forked.ended(forked.start(small_sweeps.drive, storage, 0.0, name)) == 0
    cut = open_whole(tmp_path / "cut" / "fake")
    assert lines(storage)[: len(before) - 1] == before[:-1], "what was decided stays"
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
