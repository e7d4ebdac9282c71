"""The time left that `raydarts status` tells, from a run's files alone: the live display's rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raydarts.report import watch
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import retraining, write_promotion
from raydarts.runs.hours import write_driver, write_plan
from raydarts.runs.progress import left
from raydarts.study.forecast import clock
from raydarts.study.objectives import ACCURACY
from tests.commands import run_here

BEGAN = 1_760_000_000.0
GENOTYPE: dict[str, Any] = {"id": "g", "genotype": {}, "trials": [], "promoted": True, "reason": "best"}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Four trials are planned, and then one genotype with two seeds; the driver began at BEGAN."""
    spec = {"sweep": {"metric": "validation_accuracy"}, "evaluate": {"seeds": [0, 1]}, "score": ACCURACY.to_json()}
    made = RunDirectory.create(tmp_path / "r", kind="sweep", spec=spec)
    write_plan(made, [{"name": "search", "jobs": 4, "epochs": 2}, {"name": "evaluate", "jobs": 8, "epochs": 1}])
    write_driver(made, "d", BEGAN, BEGAN)
    return made


def ran(trial: TrialDirectory, what: dict[str, Any], *epochs: tuple[float, float], status: str | None = None) -> None:
    """A trial whose epochs began and ended so many seconds after BEGAN."""
    trial.create(what)
    trial.claim()
    for number, (start, end) in enumerate(epochs, start=len(trial.rows()) + 1):
        trial.append_row({"epoch": number, "validation_accuracy": 0.5})
        trial.append_time({"epoch": number, "start": BEGAN + start, "end": BEGAN + end})
    if status is not None:
        trial.write_result({"status": status, "epochs": len(epochs), "metrics": {}})


def searched(run: RunDirectory, index: int, *epochs: tuple[float, float], status: str | None = None) -> None:
    ran(run.trial(index), {"index": index, "config": {}, "choices": {}}, *epochs, status=status)


def middle(run: RunDirectory, after: float) -> tuple[str, float | None]:
    told = left(run, BEGAN + after)
    assert told is not None
    return told["stage"], told["seconds"]


def near(told: tuple[str, float | None], stage: str, seconds: float) -> bool:
    return told[0] == stage and told[1] is not None and abs(told[1] - seconds) <= 0.12 * seconds


def test_counts_ended_running_and_waiting_trials(run: RunDirectory) -> None:
    with run.locked():
        searched(run, 0)
        assert middle(run, 20) == ("search", None), "no epoch has ended"
        searched(run, 0, (0, 50))
        assert near(middle(run, 50), "search", 350)
        searched(run, 0, (50, 100), status="completed")
        assert near(middle(run, 100), "search", 300)
        searched(run, 1, (100, 150))
        assert near(middle(run, 170), "search", 30 + 2 * 100)
        searched(run, 2, (100, 150))
        assert near(middle(run, 170), "search", 30 + 100), "two places, one trial waits"
        told = left(run, BEGAN + 170)
        assert told is not None
        assert told["not_timed"] == ["evaluate"]
        assert told["low"] is not None
        assert told["high"] is not None
        assert told["low"] <= 130 <= told["high"]
    assert left(run, BEGAN + 170) is None, "no driver is at work"


def test_a_trial_that_an_earlier_driver_began_was_at_work_under_this_one_only(run: RunDirectory) -> None:
    for index in (0, 2, 3):
        searched(run, index, (0, 50), (50, 100), status="completed")
    searched(run, 1, (100, 150))
    write_driver(run, "later", BEGAN + 5000, BEGAN + 5000)
    with run.locked():
        assert near(middle(run, 5010), "search", 40)


def test_once_it_is_decided_who_is_retrained_the_plan_counts_no_more(run: RunDirectory) -> None:
    for index in range(4):
        searched(run, index, (0, 10), status="stopped")
    with run.locked():
        assert middle(run, 50) == ("evaluate", None)
        for seed in (0, 1):
            what = {"genotype_id": "g", "genotype": {}, "seed": seed}
            ran(retraining(run, "evaluate", "g", seed), what, (50, 80), status="completed" if seed == 0 else None)
        write_promotion(run, "evaluate", [GENOTYPE])
        told = left(run, BEGAN + 80)
        assert told is not None
        assert told["seconds"] == 0.0
        retraining(run, "evaluate", "g", 1).write_result({"status": "failed", "epochs": 1})
        assert left(run, BEGAN + 80) is None


def test_status_tells_it_and_watch_renews_it(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raydarts.runs.progress.time", clocked := Clock(BEGAN + 100))
    looks = iter([160.0, 170.0])

    def sleep(_: float) -> None:
        clocked.now = BEGAN + next(looks, float("nan"))
        if clocked.now != clocked.now:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.follow, "__defaults__", (sleep,))
    with run.locked():
        searched(run, 0, (0, 100), status="completed")
        searched(run, 1, (100, 130))
        seconds = json.loads(run_here("status", run.path, "--json").out)["left"]["seconds"]
        assert 230 < seconds < 310
        assert "time left: 0:0" in run_here("status", run.path).out
        watched = run_here("status", run.path, "--watch")
        assert watched.code == 0
        assert watched.out.count("time left") == 1, "where the output is no terminal, the time left alone is no news"
    assert "left" not in run_here("status", run.path).out


class Clock:
    """Stands in for the module `time`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


def test_a_clock_has_hours_minutes_and_seconds() -> None:
    assert clock(3725.9) == "1:02:05"
