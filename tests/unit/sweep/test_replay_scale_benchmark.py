"""benchmarks/replay_scale.py at a small size: driver time grows with the number of reports, and no faster."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "replay_scale.py"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay_scale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband"])
def test_a_report_costs_about_the_same_with_eight_times_the_trials(scale: ModuleType, scheduler: str) -> None:
    """Ray Tune's own median rule would cost eight times as much."""
    few, many = (scale.measure(scheduler, trials, 10) for trials in (80, 640))
    assert many["events"] > 6 * few["events"]
    assert many["driver_s"] / many["epochs"] < 4 * max(few["driver_s"], 0.02) / few["epochs"]


def test_the_exponent_of_known_times(scale: ModuleType) -> None:
    rows = [{"driver_s": 1.0, "epochs": 100, "trials": 10}, {"driver_s": 4.0, "epochs": 200, "trials": 20}]
    assert scale.exponent(rows) == pytest.approx(2)
    assert scale.exponent(rows[:1]) is None
