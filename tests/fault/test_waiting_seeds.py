"""Search seeds of a configuration that wait for one another while one of them is lost, fails, is halted or damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec
from raydarts.runs.directory import RunDirectory
from raydarts.runs.hours import change_limits, spent
from raydarts.runs.whole import open_whole
from raydarts.sweeping.runner import BUDGET_SPENT, run_sweep, start_sweep
from tests.fault import fakes
from tests.here import sweeps_run_here

HOUR = 3600.0
ASHA = {"name": "asha", "grace_period": 1, "reduction_factor": 2}


def loaded(**more: Any) -> LoadedSpec:
    return fakes.loaded({"name": "random", "trials": 4}, ASHA, replicates=[0, 1, 2], max_concurrent=1, **more)


def sweep(folder: Path, spec: LoadedSpec) -> tuple[int, RunDirectory]:
    code = start_sweep(spec, folder, builder=fakes.BUILDER, display=False, command=["test"])
    return code, RunDirectory.open(folder / "fake")


def ends(run: RunDirectory) -> list[tuple[str, list[float]]]:
    return [((trial.result() or {})["status"], [row["trace"] for row in trial.rows()]) for trial in run.trials()]


def decided(run: RunDirectory) -> list[tuple[Any, ...]]:
    return [
        (event["index"], event["epoch"], event["decision"], str(event.get("others", "")))
        for event in run.events()
        if event["event"] == "decide"
    ]


def waiting(run: RunDirectory) -> list[str]:
    return [trial.id for trial in run.trials() if "waits" in str((trial.halted() or {}).get("reason"))]


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """The sweeps of this file run in this process."""
    with sweeps_run_here():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, here: None) -> RunDirectory:
    """The sweep undisturbed."""
    code, run = sweep(tmp_path_factory.mktemp("whole"), loaded())
    assert code == 0
    decisions = {each[2] for each in decided(run)}
    assert decisions == {"continue", "pause", "stop"}
    return run


def test_a_budget_spent_while_seeds_wait_is_resumed_to_the_same_end(tmp_path: Path, whole: RunDirectory) -> None:
    slow = loaded(base={"sleep": 1.0}, budget={"cpu_hours": 5.5 / HOUR})
    code, run = sweep(tmp_path, slow)
    assert code == BUDGET_SPENT
    halts, met = 1, len(waiting(run)) > 0
    while code == BUDGET_SPENT:
        change_limits(run, {"cpu_hours": spent(run)["cpu_hours"] + 2.5 / HOUR}, 0.0)
        code = run_sweep(open_whole(run.path), slow, display=False)
        halts += 1
        met = met or len(waiting(run)) > 0
    assert code == 0
    assert halts > 4
    assert met
    assert decided(run) == decided(whole)
    assert ends(run) == ends(whole)


def test_a_process_that_is_lost_while_others_wait_is_tried_again(tmp_path: Path, whole: RunDirectory) -> None:
    code, run = sweep(tmp_path, loaded(per_trial={2: {"kills": [str(tmp_path / "lost"), [1, 2]]}}))
    assert code == 0
    assert (tmp_path / "lost").read_text() == "xx"
    assert decided(run) == decided(whole)
    assert ends(run) == ends(whole)


@pytest.mark.parametrize("trouble", [{"fail_at": 1}, {"fail_at": 2}, {"kills": [1, 1]}])
def test_a_trial_that_fails_while_others_wait_lets_them_go_on(
    tmp_path: Path, trouble: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    def of(index: int) -> dict[str, Any]:
        return {"kills": [str(tmp_path / f"lost{index}"), trouble["kills"]]} if "kills" in trouble else trouble

    code, run = sweep(tmp_path, loaded(per_trial={2: of(2), 5: of(5)}, max_failures=1))
    assert code == 1
    statuses = [status for status, _ in ends(run)]
    assert [index for index, status in enumerate(statuses) if status == "failed"] == [2, 5]
    groups = [statuses[first : first + 3] for first in range(0, 12, 3)]
    assert all(len(set(group) - {"failed"}) == 1 for group in groups)
    assert "waits since" not in caplog.text


def test_a_trial_whose_folder_was_damaged_and_moved_away_is_run_again(tmp_path: Path, whole: RunDirectory) -> None:
    slow = loaded(base={"sleep": 1.0}, budget={"cpu_hours": 1.5 / HOUR})
    code, run = sweep(tmp_path, slow)
    assert code == BUDGET_SPENT
    (first, *_) = waiting(run)
    shutil.rmtree(run.trial(int(first)).path)
    change_limits(run, {"cpu_hours": 1.0}, 0.0)
    assert run_sweep(open_whole(run.path), slow, display=False) == 0
    assert ends(run) == ends(whole)
    assert run.trial(int(first)).description()["configuration"] == 0
