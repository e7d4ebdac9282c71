"""Collapsed trials in whole sweeps of scripted jobs: halted, ranked behind the others, and their fallbacks."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.runs.results import report_json
from raydarts.study.study import Study
from raydarts.sweeping.runner import resume_sweep, start_sweep
from tests.commands import run_here
from tests.fault import fakes
from tests.here import sweeps_run_here

GOOD, COLLAPSED = {"lr": 0.2, "skips": 2}, {"lr": 0.9, "skips": 7}
LATE = {"lr": 0.8, "skips": [1, 2, 3, 4, 7, 7, 7, 7, 7, 7]}
EPOCHS = 10
EVALUATE = {"top_k": 2, "seeds": [0], "training": {"epochs": 1}}
SCHEDULERS: list[Any] = [
    "fifo",
    {"name": "asha", "grace_period": 7, "reduction_factor": 2},
    {"name": "median", "grace_period": 7, "min_trials": 2},
    {"name": "hyperband"},
]


def sweep(folder: Path, jobs: list[dict[str, Any]], scheduler: Any = "fifo", **more: Any) -> RunDirectory:
    search = {"epochs": EPOCHS, "lr": {"loguniform": [0.01, 0.5]}, "estimator": "first_order"}
    loaded = fakes.loaded(
        {"name": "random", "trials": len(jobs)},
        scheduler,
        evaluate=EVALUATE,
        search=search,
        per_trial=dict(enumerate(jobs)),
        **more,
    )
    with sweeps_run_here():
        assert start_sweep(loaded, folder, "run", display=False, builder=fakes.BUILDER) == 0
    return RunDirectory.open(folder / "run")


def promoted(run: RunDirectory) -> list[dict[str, Any]]:
    return [each for each in run.read("promotion.json") or [] if each["promoted"]]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_a_collapsed_trial_is_halted_with_its_reason_under_every_scheduler(tmp_path: Path, scheduler: Any) -> None:
    run = sweep(
        tmp_path, [GOOD, COLLAPSED, {**GOOD, "lr": 0.3, "skips": 3}, {**GOOD, "lr": 0.1, "skips": 1}], scheduler
    )
    result = run.trial(1).result() or {}
    assert (result["status"], result["epochs"]) == ("stopped", 6), "epochs 5 and 6 of 10"
    assert result["reason"].startswith("collapsed: parameter_free_share is 0.875, at most 0.7 is allowed; skip_share")
    decided = [event for event in run.events() if event.get("reason")]
    assert [(event["index"], event["epoch"], event["decision"], event["halted"]) for event in decided] == [
        (1, 6, "stop", True)
    ]
    assert promoted(run)[0]["skips"]["normal"] in (2, 3), "a healthy one, though its figure is lower"
    assert all(not each.get("against") for each in promoted(run))


def test_with_accuracy_alone_the_collapsed_trial_wins_and_the_user_is_told(tmp_path: Path) -> None:
    run = sweep(tmp_path, [GOOD, COLLAPSED], objective="validation_accuracy")
    assert [each["skips"]["normal"] for each in promoted(run)] == [7, 2]
    assert all("reason" not in event for event in run.events())
    told = " ".join(run_here("report", run.path).out.split())
    assert "warning: Trials are ranked by validation_accuracy alone." in told
    assert "92 to 100 % of simulated sweeps" in told


def test_the_last_healthy_genotype_is_a_flagged_fallback_where_no_healthy_search_is_left(tmp_path: Path) -> None:
    run = sweep(tmp_path, [COLLAPSED, LATE])
    first, second = promoted(run)
    assert (first["skips"]["normal"], first["fallback"]) == (4, {"trial": "0001", "epoch": 4})
    assert "a fallback: the genotype of trial 0001 at epoch 4, before it collapsed" in first["reason"]
    assert (second["skips"]["normal"], bool(second["against"])) == (7, True)
    assert "no genotype is left that nothing speaks against" in second["reason"]
    told = " ".join(run_here("report", run.path).out.split())
    assert "halted because they had collapsed: 0000 after epoch 6, 0001 after epoch 6" in told
    assert "is retrained though no healthy search ended with it: number 1 of top_k 2; a fallback" in told


def test_a_fallback_stays_behind_every_healthy_finisher(tmp_path: Path) -> None:
    run = sweep(tmp_path, [LATE, GOOD, {**GOOD, "lr": 0.05, "skips": 1}])
    assert [each["skips"]["normal"] for each in promoted(run)] == [2, 1]
    entries = run.read("promotion.json")
    assert [bool(each.get("fallback")) for each in entries or []] == [False, False, True, False]


def test_halt_switched_off_lets_collapsed_trials_run_and_ranks_them_last(tmp_path: Path) -> None:
    run = sweep(tmp_path, [COLLAPSED, GOOD], halt=False)
    assert (run.trial(0).result() or {})["status"] == "completed"
    assert [each["skips"]["normal"] for each in promoted(run)] == [2, 7]


def test_a_stop_by_a_signal_is_recorded_and_is_no_collapse(tmp_path: Path) -> None:
    stop = [{"signal": "validation_accuracy", "below": 0.15, "after": 0.5}]
    run = sweep(tmp_path, [{**GOOD, "lr": 0.1}, GOOD], stop=stop)
    result = run.trial(0).result() or {}
    assert (result["status"], result["epochs"]) == ("stopped", 5)
    assert result["reason"].startswith("stopped by sweep.stop: validation_accuracy is 0.105, at least 0.15")
    assert [event["halted"] for event in run.events() if event.get("reason")] == [False]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=str)
def test_a_driver_that_dies_loses_no_halt_and_no_count(
    tmp_path: Path, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [GOOD, COLLAPSED, LATE, {**GOOD, "lr": 0.3, "skips": 3}]
    whole = sweep(tmp_path / "whole", jobs, scheduler, max_concurrent=1)
    write, left = Study._write, [0]

    def dying(self: Study, event: Any, others: Any = None) -> None:
        write(self, event, others)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    for after in (6, 17):
        folder = tmp_path / str(after)
        left[0] = after
        with monkeypatch.context() as patch:
            patch.setattr(Study, "_write", dying)
            with suppress(AssertionError, KeyboardInterrupt):
                sweep(folder, jobs, scheduler, max_concurrent=1)
        with sweeps_run_here():
            assert resume_sweep(folder / "run", display=False) == 0
        run = RunDirectory.open(folder / "run")
        assert run.events() == whole.events()
        assert report_json(run)["promotion"] == report_json(whole)["promotion"]


def test_the_tables_and_exports_say_what_is_wrong_with_each_cell(tmp_path: Path) -> None:
    run = sweep(tmp_path, [GOOD, COLLAPSED])
    told = run_here("report", run.path).out
    assert "healthy" in told
    assert "skip_share is 0.875, at most 0.5 is allowed" in " ".join(told.split())
    file = tmp_path / "all.csv"
    assert run_here("export", run.path, "--to", file, "--epochs").code == 0
    lines = file.read_text().splitlines()
    assert "unhealthy" in lines[0]
    assert sum("skip_share is 0.875" in line for line in lines) == 6, "one for each of its epochs"
    page = tmp_path / "r.html"
    assert run_here("report", run.path, "--html", "--out", page).code == 0
    assert "Health over epochs" in page.read_text()
    assert "halted because the cell had collapsed" in page.read_text()
