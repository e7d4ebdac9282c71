"""benchmarks/replay_scale.py at a small size: it runs, and its power is that of known times."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.scripts import script


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    return script("benchmarks/replay_scale.py")


@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband"])
def test_benchmark_measures_the_cost_of_a_replay(scale: ModuleType, scheduler: str) -> None:
    few, many = (scale.measure(scheduler, trials, 10) for trials in (10, 80))
    assert many["events"] > 6 * few["events"]
    assert few["driver_s"] > 0
    assert many["trials"] == 80
    assert 80 <= many["epochs"] <= 800


def test_the_exponent_of_known_times(scale: ModuleType) -> None:
    rows = [{"driver_s": 1.0, "epochs": 100, "trials": 10}, {"driver_s": 4.0, "epochs": 200, "trials": 20}]
    assert scale.exponent(rows) == pytest.approx(2)
    assert scale.exponent(rows[:1]) is None
