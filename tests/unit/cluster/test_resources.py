"""Feasibility and concurrency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import resources
from raydarts.cluster.resources import check_resources, concurrency
from raydarts.config.plan import longest
from raydarts.config.spec import Resources
from raydarts.errors import ResourceError
from raydarts.runs.directory import RunDirectory
from raydarts.sweep.schedulers.base import Horizon
from raydarts.sweep.stages import refill
from tests.fault import fakes


def test_both_stages_are_checked_and_every_problem_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "capacity", lambda address: {"cpus": 4.0, "gpus": 1.0})
    check_resources(fakes.loaded(resources={"cpus": 4, "gpus": 1}))
    loaded = fakes.loaded(resources={"cpus": 5}, evaluate={"resources": {"gpus": 2}})
    with pytest.raises(ResourceError) as caught:
        check_resources(loaded)
    assert "sweep.resources.cpus: 5" in str(caught.value)
    assert "evaluate.resources.gpus: 2" in str(caught.value)


@pytest.mark.parametrize(
    ("cpus", "gpus", "limit", "expected"),
    [(1, 0, None, 8), (3, 0, None, 2), (1, 0.25, None, 8), (1, 0.3, None, 6), (1, 1, None, 2), (1, 0, 3, 3)],
)
def test_as_many_run_as_fit(cpus: float, gpus: float, limit: int | None, expected: int) -> None:
    assert concurrency(Resources(cpus=cpus, gpus=gpus), limit, {"cpus": 8.0, "gpus": 2.0}) == expected


def rungs(scheduler: Any) -> dict[float, dict[str, float]]:
    return {milestone: dict(recorded) for milestone, recorded in scheduler._brackets[0]._rungs}


def test_the_rungs_are_refilled_and_what_was_not_decided_is(tmp_path: Path) -> None:
    loaded = fakes.loaded(scheduler={"name": "asha", "grace_period": 1, "reduction_factor": 2})
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    values = [[0.1, 0.2, 0.3], [0.5, 0.6], [0.05]]
    for index, scores in enumerate(values):
        trial = run.trial(index)
        trial.create({"index": index})
        for epoch, score in enumerate(scores, start=1):
            trial.append_row({"epoch": epoch, "validation_accuracy": score, "alpha_loss": None})
    for index, epoch in [(0, 1), (0, 2), (1, 1), (0, 3), (1, 2)]:
        run.append_event({"event": "report", "index": index, "epoch": epoch})
    scheduler = loaded.sweep.scheduler.build().build(Horizon("validation_accuracy", "max", longest(loaded.search), 0))
    refill(run, scheduler)
    assert rungs(scheduler) == {1: {"0000": 0.1, "0001": 0.5, "0002": 0.05}, 2: {"0000": 0.2, "0001": 0.6}, 4: {}}
    stopped = run.trial(2).result()
    assert stopped is not None
    assert stopped["status"] == "stopped"
    assert run.trial(0).result() is None
    assert run.trial(1).result() is None
