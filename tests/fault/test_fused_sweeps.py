"""A sweep whose trials share processes ends as one in which each has its own: rows, decisions, faults, files.

The jobs are scripted and run one after the other, so nothing differs by rounding: all is compared to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.runs.hours import change_limits, charged_seconds, spent
from raydarts.runs.segments import segments_of
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import BUDGET_SPENT, run_sweep, start_sweep
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


def test_asha_stops_most_trials_of_a_group_and_waiting_trials_take_their_places(tmp_path: Path) -> None:
    fused = sweep(
        tmp_path,
        4,
        "grid",
        ASHA,
        search={**ONE_KIND, "lr": {"grid": [0.5 - 0.04 * number for number in range(10)]}},
        max_concurrent=4,
    )
    statuses = [trial.result()["status"] for trial in fused.trials()]  # type: ignore[index]
    assert statuses.count("stopped") >= 7
    assert len({entry["pid"] for trial in fused.trials() for entry in trial.times()}) == 1
    mixed = [epochs for each in lanes.together if len(epochs := {epoch for _, epoch in each}) > 1]
    assert mixed, "a trial that begins runs beside others that are further on"
    assert max(map(len, lanes.together)) == 4
    assert not list((tmp_path / "fake" / "groups").iterdir())


def test_trials_of_other_structure_wait_for_a_group_of_their_own(tmp_path: Path) -> None:
    """First order and second order are two computations."""
    estimators = ["first_order", {"name": "finite_difference", "xi": 0.5}]
    search = {"epochs": 2, "lr": {"grid": [0.1, 0.2, 0.3]}, "estimator": {"choice": estimators}}
    run = sweep(tmp_path, 3, "grid", search=search)
    names = {trial.id: trial.description()["config"]["estimator"]["name"] for trial in run.trials()}
    assert sizes(run) == {name: [3, 3] for name in names}
    assert sorted(names.values()) == ["finite_difference"] * 3 + ["first_order"] * 3


def test_a_searcher_with_a_model_is_asked_for_one_group_ahead_at_most(tmp_path: Path) -> None:
    searcher = {"name": "optuna", "trials": 12, "startup_trials": 2}
    run = sweep(tmp_path, 2, searcher, base={"epochs": 2}, search=ONE_KIND, max_concurrent=2)
    ahead, most = 0, 0
    for event in run.events():
        ahead += {"ask": 1, "tell": -1}.get(event["event"], 0)
        most = max(most, ahead)
    assert most == 2
    assert [trial.result()["status"] for trial in run.trials()] == ["completed"] * 12  # type: ignore[index]


def test_a_trial_that_fails_fails_alone_and_in_the_same_words(tmp_path: Path) -> None:
    searcher, troubles = {"name": "random", "trials": 4}, {1: {"fail_at": 2}, 2: {"no_memory": True}}
    alone = sweep(tmp_path / "alone", "off", searcher, per_trial=troubles, search=ONE_KIND, base={"epochs": 4}, code=1)
    fused = sweep(tmp_path / "fused", 4, searcher, per_trial=troubles, search=ONE_KIND, base={"epochs": 4}, code=1)
    assert ends(fused) == ends(alone)
    assert [trial.result()["status"] for trial in fused.trials()].count("failed") == 2  # type: ignore[index]
    assert sizes(fused)["0000"][:2] == [4, 4]


def test_memory_that_is_full_halves_a_group_before_a_trial_is_given_a_larger_share(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "per_trial": {3: {"needs_gpus": 0.9, "shares": str(tmp_path / "shares")}},
        "resources": {"cpus": 1, "gpus": 0.25},
        "out_of_memory": {"retries": 2, "grow": 2},
        "search": ONE_KIND,
        "base": {"epochs": 4},
    }
    fused = sweep(tmp_path / "fused", 4, {"name": "random", "trials": 4}, **more)
    assert ends(fused) == ends(sweep(tmp_path / "alone", "off", {"name": "random", "trials": 4}, **more))
    faults = {trial.id: [each["what"] for each in trial.failures()] for trial in fused.trials()}
    assert faults == {"0000": [], "0001": [], "0002": [], "0003": ["gpu_memory"] * 2}
    assert sizes(fused)["0000"] == [4, 4, 2, 1]


TROUBLES = {
    "killed": {"kill_once": "marker"},
    "without its disk": {"io_error_once": "marker"},
    "hung": {"hang": ["marker", 1]},
    "taken back": {"taken_back": ["marker", [3]]},
    "without the storage": {"storage": ["marker", 1]},
}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_lost_group_counts_as_one_attempt_of_each_trial_and_goes_on_as_it_was(tmp_path: Path, name: str) -> None:
    def marked(value: Any) -> Any:
        here = str(tmp_path / "marker")
        return here if value == "marker" else [here if each == "marker" else each for each in value]

    trouble = {key: marked(value) for key, value in TROUBLES[name].items()}
    searcher, more = {"name": "random", "trials": 4}, {"search": ONE_KIND, "base": {"epochs": 4}, "epoch_timeout": 60}
    fused = sweep(tmp_path / "fused", 4, searcher, per_trial={2: trouble}, **more)
    assert (tmp_path / "marker").exists()
    assert ends(fused) == ends(sweep(tmp_path / "alone", "off", searcher, **more))
    assert sizes(fused) == dict.fromkeys(["0000", "0001", "0002", "0003"], [4] * 4), "no epoch is run twice"
    what = [[entry["what"] for entry in trial.failures()] for trial in fused.trials()]
    expected = {"killed": "lost", "without its disk": "files", "hung": "timeout", "taken back": "preempted"}
    assert what == [[expected.get(name, "storage")]] * 4


def test_a_trial_that_kills_its_process_again_and_again_takes_no_other_with_it(tmp_path: Path) -> None:
    kills = {1: {"kills": [str(tmp_path / "marker"), [2, 2, 2, 2]]}}
    fused = sweep(
        tmp_path, 4, {"name": "random", "trials": 4}, per_trial=kills, search=ONE_KIND, base={"epochs": 4}, code=1
    )
    statuses = [trial.result()["status"] for trial in fused.trials()]  # type: ignore[index]
    assert statuses == ["completed", "failed", "completed", "completed"]
    assert "more often than max_failures (3) allows" in fused.trial(1).result()["error"]  # type: ignore[index]
    assert [len(trial.failures()) for trial in fused.trials()] == [2, 4, 2, 2]


def test_a_group_costs_its_time_once_and_each_trial_can_be_halted(tmp_path: Path) -> None:
    """Four trials of 4 epochs of 1 s each, in turn: 16 s. The budget ends in the third epoch."""
    loaded = fakes.loaded(
        {"name": "random", "trials": 4},
        fuse=4,
        search=ONE_KIND,
        base={"epochs": 4, "sleep": 1.0},
        budget={"cpu_hours": 8.5 / 3600},
    )
    assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False) == BUDGET_SPENT
    run = open_whole(tmp_path / "fake")
    assert [len(trial.rows()) for trial in run.trials()] == [3, 3, 3, 3]
    assert all(trial.halted() for trial in run.trials()[:3])
    used = [charged_seconds(trial) for trial in run.trials()]
    assert used == pytest.approx([3.0] * 4, rel=0.01)
    assert spent(run)["cpu_hours"] == pytest.approx(12 / 3600, rel=0.01)
    change_limits(run, {"cpu_hours": 1.0}, 0.0)
    assert run_sweep(run, loaded, display=False) == 0
    assert [len(trial.rows()) for trial in run.trials()] == [4] * 4
    assert not any(trial.halted() for trial in run.trials())


def test_no_more_trials_run_at_a_time_than_the_spec_allows(tmp_path: Path) -> None:
    run = sweep(tmp_path, 4, {"name": "random", "trials": 6}, search=ONE_KIND, base={"epochs": 2}, max_concurrent=3)
    assert max(max(each) for each in sizes(run).values()) == 3


def test_a_run_of_an_earlier_version_goes_on_unfused(tmp_path: Path) -> None:
    loaded = fakes.loaded({"name": "random", "trials": 4}, search=ONE_KIND, base={"epochs": 2}, max_concurrent=4)
    plain = loaded.to_plain()
    del plain["sweep"]["fuse"]
    run = RunDirectory.create(
        tmp_path / "fake", kind="sweep", spec=plain, question=loaded.question, builder=fakes.BUILDER
    )
    assert run_sweep(run, loaded, display=False) == 0
    assert not lanes.together
