"""The one loop that runs a job: what it writes, whom it tells, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raydarts import trackers
from raydarts.execution.attempt import Attempt
from raydarts.runs.directory import RunDirectory, SupersededError, TrialDirectory
from raydarts.runs.observer import Observers
from tests.fault.fakes import FakeJob


class Listener:
    """Notes what it is told, and what then lies on disk."""

    def __init__(self, trial: TrialDirectory) -> None:
        self.heard: list[Any] = []
        self._trial = trial

    def epoch(self, row: Mapping[str, Any]) -> None:
        assert self._trial.rows()[-1] == row
        self.heard.append(row["epoch"])

    def finished(self, result: Mapping[str, Any]) -> None:
        assert self._trial.result() == result
        self.heard.append(result["status"])

    def close(self) -> None:
        self.heard.append("closed")


@pytest.fixture
def trial(tmp_path: Path) -> TrialDirectory:
    trial = RunDirectory.create(tmp_path / "run", kind="search", spec={}).trial(0)
    trial.create({"index": 0, "config": {}, "choices": {}})
    trial.claim()
    return trial


@pytest.fixture
def listener(trial: TrialDirectory, monkeypatch: pytest.MonkeyPatch) -> Listener:
    made = Listener(trial)
    monkeypatch.setattr(trackers, "observers", lambda trial: Observers([made]))
    return made


def job() -> FakeJob:
    return FakeJob({"lr": 0.1, "epochs": 3}, "search")


def run(attempt: Attempt) -> None:
    """As whoever uses an attempt does."""
    attempt.open()
    while not attempt.finished:
        attempt.advance()
    attempt.finish()


def test_observers_hear_of_each_step_after_it_is_on_disk(trial: TrialDirectory, listener: Listener) -> None:
    with Attempt(trial, job) as attempt:
        run(attempt)
        assert attempt.row == trial.rows()[-1]
    assert listener.heard == [1, 2, 3, "completed", "closed"]


def test_a_second_attempt_goes_on_where_the_first_ended(trial: TrialDirectory, listener: Listener) -> None:
    with Attempt(trial, job) as first:
        first.open()
        first.advance()
    with Attempt(trial, job) as second:
        run(second)
    assert listener.heard == [1, "closed", 2, 3, "completed", "closed"]
    whole = job()
    assert trial.rows() == [whole.run_epoch() for _ in range(3)]


def test_an_attempt_that_fails_writes_the_error_and_tells_it(trial: TrialDirectory, listener: Listener) -> None:
    with Attempt(trial, job) as attempt:
        attempt.open()
        attempt.advance()
        attempt.fail(ValueError("wrong"))
    assert (trial.result() or {})["error"] == "ValueError: wrong"
    assert (trial.result() or {})["epochs"] == 1
    assert listener.heard == [1, "failed", "closed"]


def test_observers_are_let_go_where_an_epoch_is_cut_off(trial: TrialDirectory, listener: Listener) -> None:
    cut = job()
    cut._trouble = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), Attempt(trial, lambda: cut) as attempt:
        run(attempt)
    assert listener.heard == ["closed"]
    assert trial.result() is None


def test_a_newer_attempt_ends_the_older_one(trial: TrialDirectory, listener: Listener) -> None:
    with Attempt(trial, job) as older:
        older.open()
        TrialDirectory(trial.path).claim()
        with pytest.raises(SupersededError):
            older.advance()


def test_each_piece_of_work_is_watched(trial: TrialDirectory, listener: Listener) -> None:
    watched: list[int] = []

    class Watch:
        def __enter__(self) -> None:
            watched.append(len(listener.heard))

        def __exit__(self, *error: object) -> None: ...

    with Attempt(trial, job, watch=Watch()) as attempt:  # type: ignore[arg-type]
        run(attempt)
    assert watched == [0, 0, 1, 2, 3]  # open, three epochs, finish: before observers hear of it


def test_a_job_that_is_not_open_is_named(trial: TrialDirectory) -> None:
    with pytest.raises(RuntimeError, match="0000: its job is not open"):
        Attempt(trial, job).advance()
