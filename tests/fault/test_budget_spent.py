"""A budget that is spent in mid-run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raydarts.config.loader import LoadedSpec
from raydarts.report.status import status_json, status_table
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs
from raydarts.runs.hours import change_limits, spent
from raydarts.sweeping.runner import BUDGET_SPENT, run_sweep, start_sweep
from tests.fault import staged

pytestmark = pytest.mark.usefixtures("local_sweeps")
HOUR = 3600.0


def sweep(folder: Path, loaded: LoadedSpec, **more: Any) -> tuple[int, RunDirectory]:
    code = start_sweep(loaded, folder, builder=staged.BUILDER, display=False, command=["test"], **more)
    return code, RunDirectory.open(folder / "fake")


def traces(run: RunDirectory) -> dict[str, list[float]]:
    """Every row that every trial ended with, by its folder."""
    return {str(trial.path.relative_to(run.path)): [row["trace"] for row in trial.rows()] for trial in jobs(run)}


def test_a_budget_spent_in_mid_search_and_mid_evaluation_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    plan: dict[str, Any] = {
        "evaluate": {"top_k": 2, "seeds": [0, 1], "training": {"epochs": 3}},
        "searcher": {"name": "optuna", "trials": 4, "startup_trials": 2},
    }
    code, whole = sweep(tmp_path / "whole", staged.staged(**plan))
    assert code == 0
    slow = staged.staged(pause=0.5, base={"sleep": 0.15}, budget={"cpu_hours": 0.9 / HOUR}, **plan)
    code, run = sweep(tmp_path / "halted", slow)
    assert code == BUDGET_SPENT
    found = status_json(run.path)
    assert found["status"] == "halted"
    assert found["trials"]["halted"] == 1  # stopped at its next epoch, and not over
    assert found["trials"].get("completed", 0) < 4
    assert found["evaluations"] == {}
    halted = next(trial for trial in run.trials() if trial.halted())
    assert "budget spent" in (halted.halted() or {})["reason"]
    assert any(halted.checkpoints.iterdir())
    assert "--set budget.gpu_hours" in printed(run)
    rows = traces(run)
    assert run_sweep(run, staged.staged(**plan), display=False) == BUDGET_SPENT  # nothing was added to it
    assert traces(run) == rows

    used = spent(run)["cpu_hours"]
    assert used >= 0.9 / HOUR
    change_limits(run, {"cpu_hours": used + 3 / HOUR}, 0.0)  # the search's rest takes a second, evaluation 6
    assert run_sweep(run, staged.staged(**plan), display=False) == BUDGET_SPENT
    found = status_json(run.path)
    assert found["trials"] == {"completed": 4}
    assert 1 <= found["evaluations"].get("halted", 0) <= 2

    change_limits(run, {"cpu_hours": 1.0}, 0.0)
    assert run_sweep(run, staged.staged(**plan), display=False) == 0
    assert results.run_status(run) == "completed"
    assert traces(run) == traces(whole)
    ended, expected = (results.report_json(each) for each in (run, whole))
    assert ended["ranking"] == expected["ranking"]
    assert ended["promotion"] == expected["promotion"]
    assert not any(trial.halted() for trial in jobs(run))


def printed(run: RunDirectory) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(status_table(run.path))
    return captured.get()
