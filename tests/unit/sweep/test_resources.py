"""Feasibility and concurrency."""

from __future__ import annotations

import pytest

from raydarts.config.spec import Resources
from raydarts.errors import ResourceError
from raydarts.sweep import resources
from raydarts.sweep.resources import check_resources, concurrency
from raydarts.sweep.runner import longest
from raydarts.sweep.schedulers.base import Horizon, replay
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


def test_the_rungs_are_refilled_from_the_rows() -> None:
    loaded = fakes.loaded(scheduler={"name": "asha", "grace_period": 1, "reduction_factor": 2})
    scheduler = loaded.sweep.scheduler.build().build(Horizon("validation_accuracy", "max", longest(loaded), 0))
    rows = [{"epoch": epoch, "validation_accuracy": 0.5, "alpha_loss": None} for epoch in (1, 2)]
    replay(scheduler, [("0000", rows), ("0001", [{"epoch": 1, "validation_accuracy": None}])])
    bracket = scheduler._brackets[0]
    assert {milestone: dict(recorded) for milestone, recorded in bracket._rungs} == {
        1: {"0000": 0.5},
        2: {"0000": 0.5},
        4: {},
    }
