"""Feasibility and concurrency."""

from __future__ import annotations

import pytest

from raydarts.cluster import resources
from raydarts.cluster.resources import check_resources, concurrency
from raydarts.config.spec import Resources
from raydarts.errors import ResourceError
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
