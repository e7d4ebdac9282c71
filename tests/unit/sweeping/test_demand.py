"""A cluster that grows on demand is asked at once for all that the sweep can use, not for a machine at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raydarts.cluster import resources
from raydarts.config.spec import Resources
from raydarts.sweeping.runner import start_sweep
from tests.fault import fakes


@contextmanager
def demand(most: list[int]) -> Iterator[None]:
    """The most places for trials that Ray was asked for at one time, those it could give and those it could not."""
    from ray.util.placement_group import placement_group_table

    end = threading.Event()

    def look() -> None:
        while not end.wait(0.05):
            states = [each["state"] for each in placement_group_table().values()]
            most.append(sum(state in ("PENDING", "CREATED") for state in states))

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    yield
    end.set()
    watch.join()


@pytest.mark.usefixtures("ray_session")
def test_as_many_places_are_asked_for_as_trials_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPUs are there, which are one trial's. Four trials are left to run, and three may run at a time."""
    monkeypatch.setattr(resources, "capacity", lambda address: {"cpus": 12.0, "gpus": 0.0})
    loaded = fakes.loaded(
        {"name": "random", "trials": 4}, max_concurrent=3, base={"epochs": 2, "sleep": 0.2}, resources={"cpus": 2}
    )
    most: list[int] = []
    with demand(most):
        assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False) == 0
    assert max(most) == 3


def test_without_a_limit_as_many_trials_may_run_as_the_cluster_will_hold() -> None:
    there = {"cpus": 6.0, "gpus": 0.0}
    assert resources.concurrency(Resources(cpus=1), None, there) == 6
    assert resources.concurrency(Resources(cpus=1), 3, there) == 3
