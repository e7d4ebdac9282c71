"""A sweep whose trials share processes ends as one in which each has its own: rows, decisions, faults, files.

The jobs are scripted and run one after the other, so nothing differs by rounding: all is compared to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.runs.segments import segments_of
from raydarts.runs.whole import open_whole
from raydarts.sweep.runner import start_sweep
from tests import lanes
from tests.fault import fakes

pytestmark = pytest.mark.usefixtures("local_sweeps")

ASHA = {"name": "asha", "grace_period": 2}
PBT = {"name": "pbt", "every": 2, "quantile": 0.5}
MEDIAN = {"name": "median", "grace_period": 2, "min_trials": 1}
HYPERBAND = {"name": "hyperband", "reduction_factor": 2}


@pytest.fixture(autouse=True)
def _fused() -> Iterator[None]:
    with lanes.scripted_lanes():
        yield


def sweep(folder: Path, fuse: Any, *positional: Any, code: int = 0, **more: Any) -> RunDirectory:
    loaded = fakes.loaded(*positional, fuse=fuse, **more)
    assert start_sweep(loaded, folder, builder=fakes.BUILDER, display=False, command=["test"]) == code
    return open_whole(folder / "fake")


def ends(run: RunDirectory) -> list[Any]:
    """How each trial ended: status, error, settings and rows."""
    told = []
    for trial in run.trials():
        result = trial.result() or {}
        rows = [{key: value for key, value in row.items() if key != "genotype"} for row in trial.rows()]
        told.append((trial.id, result["status"], result.get("error"), segments_of(trial.description()), rows))
    return told


def sizes(run: RunDirectory) -> dict[str, list[int]]:
    """With how many trials each epoch ran."""
    return {trial.id: [entry.get("lanes", 1) for entry in trial.times()] for trial in run.trials()}


SEARCHER = {"name": "random", "trials": 6}


@pytest.mark.parametrize("more", [{}, {"replicates": [0, 1, 2]}], ids=["seeds alike", "replicates"])
def test_rows_and_results_are_those_of_trials_alone(tmp_path: Path, more: dict[str, Any]) -> None:
    alone = sweep(tmp_path / "alone", "off", SEARCHER, **more)
    fused = sweep(tmp_path / "fused", 3, SEARCHER, **more)
    assert ends(fused) == ends(alone)
    assert max(size for each in sizes(fused).values() for size in each) == 3
    assert {size for each in sizes(alone).values() for size in each} == {1}


def test_replicates_of_one_configuration_come_together_first(tmp_path: Path) -> None:
    sweep(tmp_path, 3, {"name": "random", "trials": 3}, replicates=[0, 1, 2], max_concurrent=3)
    assert lanes.together[0] == [(0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize("scheduler", [ASHA, PBT, MEDIAN, HYPERBAND], ids=lambda each: str(each["name"]))
def test_every_scheduler_decides_on_each_trial_of_a_group(tmp_path: Path, scheduler: dict[str, Any]) -> None:
    """All trials run at the same time in both, so that the schedulers see the same reports in the same order."""
    searcher, more = {"name": "random", "trials": 8}, {"base": {"epochs": 8}}
    with pytest.MonkeyPatch.context() as patch:
        from raydarts.cluster import resources

        patch.setattr(resources, "capacity", lambda address=None: {"cpus": 8.0, "gpus": 0.0})
        alone = sweep(tmp_path / "alone", "off", searcher, scheduler, search=ONE_KIND, **more)
    fused = sweep(tmp_path / "fused", 8, searcher, scheduler, search=ONE_KIND, max_concurrent=8, **more)
    assert sizes(fused)["0000"][0] == 8
    assert ends(fused) == ends(alone)
    assert decided(fused) == decided(alone)


ONE_KIND = {"epochs": 8, "lr": {"loguniform": [0.01, 0.5]}, "estimator": "first_order"}


def decided(run: RunDirectory) -> list[Any]:
    return sorted(str(event) for event in run.events() if event["event"] == "decide")
