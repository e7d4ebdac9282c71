"""The executor without Ray: whose turn it is, what it refuses, and what it lets go of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import ResourceError
from raydarts.execution.attempt import Attempt
from raydarts.execution.local import LostError
from raydarts.runs.directory import RunDirectory
from raydarts.runs.log import read_log
from raydarts.sweeping.runner import run_sweep, start_sweep
from tests.fault import fakes, team

pytestmark = pytest.mark.usefixtures("local_sweeps")


def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Of each epoch that ends from now on: its trial and its number."""
    ended: list[tuple[str, int]] = []
    advance = Attempt.advance

    def noted(self: Attempt) -> Any:
        row = advance(self)
        ended.append((self.trial.id, row["epoch"]))
        return row

    monkeypatch.setattr(Attempt, "advance", noted)
    return ended


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, ["0000", "0000", "0001", "0001", "0002", "0002"]),
        (2, ["0000", "0001", "0000", "0001", "0002", "0002"]),
    ],
)
def test_trials_take_turns_in_one_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, expected: list[str]
) -> None:
    ended = order(monkeypatch)
    loaded = fakes.loaded({"name": "random", "trials": 3}, base={"epochs": 2}, max_concurrent=most)
    assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False) == 0
    assert [name for name, _ in ended] == expected


def test_several_workers_of_one_trial_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"resources\.workers: several workers of one trial need Ray"):
        start_sweep(team.team(tmp_path), tmp_path, builder=team.BUILDER, display=False)


def test_a_sweep_that_is_interrupted_lets_go_of_its_trials_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = Attempt.close

    def noted(self: Attempt) -> None:
        closed.append(self.trial.id)
        close(self)

    monkeypatch.setattr(Attempt, "close", noted)
    job = fakes.FakeJob.run_epoch

    def interrupted(self: fakes.FakeJob) -> Any:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return job(self)

    loaded = fakes.loaded({"name": "random", "trials": 2})
    with monkeypatch.context() as patch:
        patch.setattr(fakes.FakeJob, "run_epoch", interrupted)
        assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False) == 130
    assert closed == ["0000", "0001"]
    run = RunDirectory.open(tmp_path / "fake")
    assert [len(trial.rows()) for trial in run.trials()] == [2, 2]
    assert run_sweep(run, loaded, display=False) == 0


def test_lost_error_is_caught_by_no_error_handler() -> None:
    assert not issubclass(LostError, Exception)


def test_each_trial_has_its_own_log_with_the_traceback_of_what_ended_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = fakes.FakeJob.run_epoch
    turns: list[int] = []

    def chatty(self: fakes.FakeJob) -> Any:
        turns.append(self.epoch)
        sys.stdout.write(f"turn {len(turns)}\n")
        if len(turns) == 3:
            raise ValueError("broken here")
        return job(self)

    monkeypatch.setattr(fakes.FakeJob, "run_epoch", chatty)
    loaded = fakes.loaded({"name": "random", "trials": 2}, base={"epochs": 2}, max_concurrent=2)
    assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False) == 1
    first, second = (read_log(trial) for trial in RunDirectory.open(tmp_path / "fake").trials())
    assert "turn 1\n" in first
    assert "turn 3\nTraceback (most recent call last):\n" in first
    assert "ValueError: broken here\n" in first
    assert [line for line in second.splitlines() if line.startswith("turn")] == ["turn 2", "turn 4"]
    assert second.startswith("--- ")
    assert ", from epoch 1 on" in second.splitlines()[0]
