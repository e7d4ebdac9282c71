"""A run's accounts: what counts, what is over, and what is still needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.execution import drive
from raydarts.report.status import status_json, status_table
from raydarts.runs import hours
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import retraining
from raydarts.study.budget import allotted
from raydarts.study.objectives import ACCURACY
from raydarts.sweeping.budget import Ledger
from tests.fault.fakes import FakeJob

SPEC: dict[str, Any] = {
    "sweep": {"resources": {"cpus": 2, "gpus": 0.5}},
    "evaluate": {"resources": {"cpus": 4, "gpus": 2}},
    "rungs": [{"resources": {"cpus": 1, "gpus": 1}}],
    "transfer": [],
    "score": ACCURACY.to_json(),
}


def make(folder: Path, **limits: float) -> RunDirectory:
    return RunDirectory.create(folder / "run", kind="sweep", spec={**SPEC, "budget": limits})


def worked(trial: TrialDirectory, *seconds: float, **what: Any) -> TrialDirectory:
    """A trial whose epochs took so long."""
    trial.create({"kind": "evaluation", "genotype_id": "g", "genotype": {}, "seed": 0, "trials": [], **what})
    for epoch, each in enumerate(seconds, start=1):
        trial.append_row({"epoch": epoch})
        trial.append_time({"epoch": epoch, "start": 1000.0, "end": 1000.0 + each})
    return trial


def test_hours_are_each_stages_own_and_epochs_run_again_count_again(tmp_path: Path) -> None:
    run = make(tmp_path)
    trial = worked(run.trial(0), 3600)
    worked(run.evaluation("g", 0), 1800, 1800)
    worked(retraining(run, "rung-1", "g", 0), 7200)
    assert hours.spent(run) == {"gpu_hours": 0.5 + 2 + 2, "cpu_hours": 2 + 4 + 2, "wall_hours": 0.0}
    trial.append_time({"epoch": 1, "start": 0.0, "end": 3600.0})
    assert hours.spent(run)["gpu_hours"] == 5.0


def test_trials_that_ran_together_share_the_time_of_their_process(tmp_path: Path) -> None:
    run = make(tmp_path)
    for index in range(4):
        trial = worked(run.trial(index))
        trial.append_row({"epoch": 1})
        trial.append_time({"epoch": 1, "start": 1000.0, "end": 4600.0, "lanes": 4})
    assert hours.spent(run) == {"gpu_hours": 0.5, "cpu_hours": 2.0, "wall_hours": 0.0}
    assert hours.seconds_of(run.trial(0)) == 3600.0


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def test_wall_hours_are_all_drivers_times_together(tmp_path: Path) -> None:
    run, clock = make(tmp_path, wall_hours=2.0), Clock()
    first = Ledger(run, clock)
    clock.now += 3600
    first.beat(always=True)
    clock.now += 86400  # nobody at work
    second = Ledger(run, clock)
    assert second.over() is None
    clock.now += 3599
    assert second.deny() is None
    assert not second.denied
    clock.now += 1
    assert second.deny() == "budget spent: 2 of 2 wall hours"
    assert second.denied
    assert second.hint() == f"raydarts resume {run.path} --set budget.wall_hours=HOURS"


def test_a_ledger_charges_epochs_as_they_end_and_starts_from_what_is_on_disk(tmp_path: Path) -> None:
    run = make(tmp_path, gpu_hours=1.0, cpu_hours=100.0)
    trial = worked(run.trial(0), 3600)
    ledger = Ledger(run, Clock())
    assert ledger.spent() == {"gpu_hours": 0.5, "cpu_hours": 2.0}
    trial.append_time({"epoch": 2, "start": 0.0, "end": 3600.0})
    assert ledger.over() is None
    ledger.charge(trial)
    assert ledger.over() == "budget spent: 1 of 1 GPU-hours, 4 of 100 CPU-hours"
    hours.change_limits(run, {"gpu_hours": 1.5, "cpu_hours": None}, 7.0)
    again = Ledger(run, Clock())
    assert again.over() is None
    assert again.in_words() == "1 of 1.5 GPU-hours"
    assert run.read("budget.json")["earlier"] == [{"limits": {"gpu_hours": 1.0, "cpu_hours": 100.0}, "until": 7.0}]


def test_needed_hours_are_unknown_until_an_epoch_was_timed(tmp_path: Path) -> None:
    run = make(tmp_path, gpu_hours=10.0)
    planned = [{"name": "search", "jobs": 3, "epochs": 4}, {"name": "evaluate", "jobs": 2, "epochs": 10}]
    hours.write_plan(run, planned)
    worked(run.trial(0), 1800, 1800, 1800, 1800).write_result({"status": "completed"})
    worked(run.trial(1), 1800, 1800)
    search, evaluate = hours.needed(run)
    assert (search["epochs"], search["seconds_per_epoch"], search["gpu_hours"]) == (6, 1800.0, 1.5)
    assert (evaluate["epochs"], evaluate["seconds_per_epoch"], evaluate["gpu_hours"]) == (20, None, None)
    shown = "\n".join(str(each) for each in status_table(run.path).renderables[1:])  # type: ignore[union-attr]
    assert "budget spent: 1.5 of 10 GPU-hours" in shown
    assert "search still needs at most 6 epochs: 1.5 GPU-hours, 6 CPU-hours" in shown
    assert "evaluate still needs at most 20 epochs: hours unknown until an epoch of it has run" in shown


def test_a_halted_trial_is_left_work_until_its_job_is_opened(tmp_path: Path) -> None:
    run = make(tmp_path)
    trial = worked(run.trial(0), 1.0)
    trial.halt("budget spent: x")
    assert status_json(run.path)["trials"] == {"halted": 1}
    assert status_json(run.path)["status"] == "interrupted"
    trial.claim()  # as the process does that watches the workers it takes the trial from
    assert trial.halted() is not None
    drive.open_job(lambda: FakeJob({}, "evaluation"), trial)
    assert trial.halted() is None


@pytest.mark.parametrize("stage", ["search", "evaluate", "rung-1"])
def test_resources_are_those_of_the_stage(stage: str) -> None:
    assert allotted(SPEC, stage)["gpu_hours"] == {"search": 0.5, "evaluate": 2, "rung-1": 1}[stage]
