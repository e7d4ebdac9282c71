"""Trials that hang, whose GPU has no memory left, or that are lost again and again, over drivers too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import StorageError
from raydarts.report import html
from raydarts.report.gather import gather
from raydarts.report.tables import failures
from raydarts.runs import faults, hours, results
from raydarts.runs.directory import RunDirectory
from raydarts.sweeping.runner import BUDGET_SPENT, run_sweep, start_sweep
from tests.fault import fakes

pytestmark = pytest.mark.usefixtures("local_sweeps")
QUARTER = {"cpus": 1, "gpus": 0.25}


def sweep(folder: Path, trouble: dict[str, Any] | None = None, **more: Any) -> tuple[int, RunDirectory]:
    """Two trials, the first with its trouble."""
    loaded = fakes.loaded({"name": "random", "trials": 2}, per_trial={0: trouble or {}}, **more)
    code = start_sweep(loaded, folder, builder=fakes.BUILDER, display=False, command=["test"])
    return code, RunDirectory.open(folder / "fake")


def kinds(run: RunDirectory) -> list[tuple[str, int, int]]:
    return [(entry["what"], entry["attempt"], entry["epochs"]) for entry in run.trial(0).failures()]


def test_a_hung_trial_is_ended_and_goes_on_as_if_it_had_not_hung(tmp_path: Path) -> None:
    _, whole = sweep(tmp_path / "whole")
    code, run = sweep(tmp_path, {"hang": [str(tmp_path / "marker"), 1]}, epoch_timeout=10)
    assert code == 0
    assert kinds(run) == [("timeout", 1, 2)]
    assert run.trial(0).rows() == whole.trial(0).rows()
    assert len(run.trial(0).times()) == 4
    assert run.trial(1).failures() == []
    text = str(failures(results.report_json(run)))
    assert text.startswith("fault: 0000, attempt 1, after 2 epochs, on ")
    assert text.endswith(": no new epoch within epoch_timeout")
    page = html.render(gather(run.path))
    assert "fault: 0000, attempt 1, after 2 epochs" in page
    assert "no new epoch for 10 s" in page


def test_a_trial_that_hangs_for_ever_fails_by_name(tmp_path: Path) -> None:
    code, run = sweep(tmp_path, {"hang": [str(tmp_path / "marker"), 99]}, epoch_timeout=8, max_failures=1)
    first, second = results.trials(run)
    assert code == 1
    assert (first.status, second.status) == ("failed", "completed")
    assert "more often than max_failures (1) allows: no new epoch within epoch_timeout (2 x)" in first.result["error"]
    assert first.epochs == 2


def test_max_failures_counts_over_drivers(tmp_path: Path) -> None:
    kills = {"kills": [str(tmp_path / "marker"), [1, 1, 3]]}
    searcher = {"name": "random", "trials": 1}
    settings = {"max_failures": 2, "per_trial": {0: kills}}
    loaded = fakes.loaded(searcher, budget={"cpu_hours": 1e-9}, base={"sleep": 0.05}, **settings)
    assert start_sweep(loaded, tmp_path, builder=fakes.BUILDER, display=False) == BUDGET_SPENT
    run = RunDirectory.open(tmp_path / "fake")
    assert kinds(run) == [("lost", 1, 0), ("lost", 2, 0)]
    with run.locked():
        hours.change_limits(run, {"cpu_hours": None}, 0.0)
    assert run_sweep(run, fakes.loaded(searcher, **settings), display=False) == 1
    (record,) = results.trials(run)
    assert kinds(run)[2:] == [("lost", 3, 2)]
    assert faults.WORDS["lost"] + " (3 x)" in record.result["error"]
    assert record.epochs == 2


def test_a_full_gpu_is_given_again_in_a_larger_share(tmp_path: Path) -> None:
    _, whole = sweep(tmp_path / "whole")
    trouble = {"needs_gpus": 0.9, "shares": str(tmp_path / "shares")}
    rule = {"retries": 2, "grow": 2}
    code, run = sweep(tmp_path, trouble, resources=QUARTER, out_of_memory=rule)
    assert code == 0
    assert (tmp_path / "shares").read_text().split() == ["0.25", "0.5", "1"]
    assert kinds(run) == [("gpu_memory", 1, 2), ("gpu_memory", 2, 2)]
    assert run.trial(0).rows() == whole.trial(0).rows()
    assert len(run.trial(0).times()) == 4
    spent = hours.hours_of(run.trial(0), run.description()["spec"])
    assert 0.25 * spent["cpu_hours"] < spent["gpu_hours"] <= spent["cpu_hours"]


@pytest.mark.parametrize(
    ("rule", "advice", "shares"),
    [
        (None, r"out_of_memory: {retries: 2, grow: 2}", ["0.25"]),
        ({"retries": 1, "grow": 2}, "after 1 retries with larger shares", ["0.25", "0.5"]),
    ],
)
def test_a_full_gpu_fails_by_name_where_no_retry_is_left(
    tmp_path: Path, rule: Any, advice: str, shares: list[str]
) -> None:
    trouble = {"needs_gpus": 0.9, "shares": str(tmp_path / "shares")}
    code, run = sweep(tmp_path, trouble, resources=QUARTER, out_of_memory=rule)
    first, second = results.trials(run)
    assert code == 1
    assert (first.status, second.status) == ("failed", "completed")
    assert advice in first.result["error"]
    assert "CUDA out of memory" in first.result["error"]
    assert (tmp_path / "shares").read_text().split() == shares


def test_a_machine_without_memory_fails_the_trial_with_advice(tmp_path: Path) -> None:
    code, run = sweep(tmp_path, {"no_memory": True})
    assert code == 1
    assert (
        "MemoryFullError: the machine's memory was full: lower search.batch_size"
        in results.trials(run)[0].result["error"]
    )


def test_machines_that_are_taken_back_count_for_nothing(tmp_path: Path) -> None:
    code, run = sweep(tmp_path, {"taken_back": [str(tmp_path / "marker"), [1, 2, 4, 4]]}, max_failures=0)
    assert code == 0
    assert kinds(run) == [("preempted", 1, 0), ("preempted", 2, 1), ("preempted", 3, 3), ("preempted", 4, 3)]
    assert len(run.trial(0).rows()) == 4


def test_a_storage_that_stays_away_fails_no_trial_and_the_run_goes_on_later(tmp_path: Path) -> None:
    trouble = {"storage": [str(tmp_path / "marker"), 3]}
    with pytest.raises(StorageError, match=r"failed 1 trial\(s\) on their nodes more often.*: 0000\."):
        sweep(tmp_path, trouble, max_failures=2)
    run = RunDirectory.open(tmp_path / "fake")
    first, second = run.trials()
    assert first.result() is None
    assert (second.result() or {})["status"] == "completed"
    assert kinds(run) == [("storage", 1, 2), ("storage", 2, 2), ("storage", 3, 2)]
    loaded = fakes.loaded({"name": "random", "trials": 2}, max_failures=2)
    assert run_sweep(run, loaded, display=False) == 0
    assert [row["epoch"] for row in first.rows()] == [1, 2, 3, 4]
