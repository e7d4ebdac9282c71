"""Sweeps of small real searches, fused and not, through the command line: equal within rounding.

In float64 rounding is far below 1e-9, so that no figure of a whole sweep may differ by more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.whole import open_whole
from raydarts.search.fused import FusedSearch
from tests.commands import CrashError, Outcome, run_here
from tests.here import sweeps_run_here

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_sweeps")]

SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "digits", "limit": 120, "validation_fraction": 0.2},
    "search": {
        "epochs": 2,
        "batch_size": 24,
        "arch_lr": 0.05,
        "precision": "float64",
        "space": {"name": "robust_s3", "channels": 2, "layers": 3, "nodes": 1},  # few candidates: quick
        "estimator": "first_order",
        "lr": {"grid": [0.05, 0.1]},
    },
    "sweep": {"searcher": "grid", "replicates": [0, 1]},
}
MEASURED = ("seconds", "memory_mb")


def merged(changes: dict[str, Any], base: dict[str, Any] = SPEC) -> dict[str, Any]:
    nested = {key: merged(value, base[key]) for key, value in changes.items() if isinstance(value, dict) and key in base
              and key in ("data", "search", "sweep")}  # fmt: skip
    return {**base, **changes, **nested}


def sweep(folder: Path, fuse: object, changes: dict[str, Any], code: int = 0) -> tuple[RunDirectory, Outcome]:
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(merged(changes)))
    done = run_here("sweep", folder / "small.yaml", "--storage", folder, "--set", f"sweep.fuse={fuse}", "--name", "run")
    assert done.code == code, done.out + done.err
    return open_whole(folder / "run"), done


def numbers(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a row or a result, flat, but what is measured."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in MEASURED:
                yield from numbers(item, f"{at}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from numbers(item, f"{at}.{number}")
    else:
        yield at, value


def differing(one: Any, other: Any) -> list[tuple[str, Any, Any]]:
    """The places where two values differ by more than rounding."""
    left, right = dict(numbers(one)), dict(numbers(other))
    assert left.keys() == right.keys()
    return [(at, left[at], right[at]) for at in left if not is_close(left[at], right[at])]


def is_close(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float)
    return bool(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) if both else one == other)


def assert_equal(fused: RunDirectory, alone: RunDirectory) -> None:
    assert [trial.id for trial in fused.trials()] == [trial.id for trial in alone.trials()]
    for one, other in zip(fused.trials(), alone.trials(), strict=True):
        assert differing(one.rows(), other.rows()) == [], one.id
        results = [{**(each.result() or {}), "traceback": None} for each in (one, other)]
        assert differing(*results) == [], one.id


def sizes(run: RunDirectory) -> dict[str, list[int]]:
    return {trial.id: [entry.get("lanes", 1) for entry in trial.times()] for trial in run.trials()}


CASES: dict[str, tuple[object, int, dict[str, Any]]] = {
    "replicates": ("auto", 2, {"search": {"space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}}}),
    "second order": (2, 2, {"search": {"estimator": {"name": "finite_difference", "xi": 0.01}, "lr": 0.05}}),
    "a text that each seed cuts into other lengths": (
        "auto",
        2,
        {
            "data": {
                "dataset": {"name": "pydoc_topics", "vocabulary_size": 40},
                "limit": 1200,
                "validation_fraction": None,
            },
            "search": {
                "batch_size": 8,
                "text": {"bptt": 10, "bptt_deviation": 3, "measured_columns": 200},
                "space": {"name": "darts-rnn", "nodes": 2, "units": 6},
            },
        },
    ),
    "a scheduler that stops": (
        2,
        2,
        {
            "search": {"lr": {"grid": [0.1, 0.05, 0.0001, 0.00001]}},
            "sweep": {
                "scheduler": {"name": "asha", "grace_period": 1},
                "objective": "validation_loss",
                "replicates": None,
                "max_concurrent": 2,
            },
        },
    ),
}
"""`sweep.fuse`, how many trials then run together, and the rest of the spec."""


@pytest.mark.parametrize("name", CASES)
def test_figures_decisions_and_results_are_those_of_trials_alone(tmp_path: Path, name: str) -> None:
    fuse, lanes, changes = CASES[name]
    fused, told = sweep(tmp_path / "fused", fuse, changes)
    alone, _ = sweep(tmp_path / "alone", "off", changes)
    assert_equal(fused, alone)
    assert sizes(fused)["0000"][0] == lanes
    assert f"up to {lanes} trials of like structure share a process" in told.out
    report = json.loads(run_here("report", fused.path, "--json").out)
    statuses = [(trial.result() or {})["status"] for trial in alone.trials()]
    assert [trial["status"] for trial in report["trials"]] == statuses
    assert ("stopped" in statuses) == (name == "a scheduler that stops")


class KilledError(BaseException):
    """As sudden as a kill: nothing in raydarts may catch it."""


THREE = {"search": {"epochs": 3}}


@pytest.fixture(scope="module")
def three_alone(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Trials of three epochs, each alone and never cut."""
    with sweeps_run_here():
        return sweep(tmp_path_factory.mktemp("alone"), "off", THREE)[0]


@pytest.mark.parametrize("step", ["append_row", "append_time"])
def test_a_driver_killed_between_two_trials_of_a_group_goes_on_with_both(
    tmp_path: Path, three_alone: RunDirectory, step: str
) -> None:
    """Then one trial is an epoch further than the others: of its row, or of its checkpoint."""
    write, calls = getattr(TrialDirectory, step), iter(range(100))

    def killed(self: TrialDirectory, entry: Any) -> None:
        if next(calls) == 6:  # of the third trial, in its second epoch
            raise KilledError
        write(self, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialDirectory, step, killed)
        with pytest.raises(CrashError, match="KilledError"):
            sweep(tmp_path / "fused", 4, THREE)
    run = RunDirectory.open(tmp_path / "fused" / "run")
    assert [len(trial.rows()) for trial in run.trials()] == [2, 2, 1 + (step == "append_time"), 1]
    resumed = run_here("resume", run.path)
    assert resumed.code == 0, resumed.err
    assert_equal(open_whole(run.path), three_alone)
    assert (sizes(run)["0000"], sizes(run)["0003"]) == ([4, 4, 4], [4, 4, 2])


def test_a_sweep_that_goes_on_has_groups_of_the_same_size_and_the_same_bits(tmp_path: Path) -> None:
    """Two of four trials have ended before. Two processes would have room for the others, one each."""
    of_float32 = {"search": {"epochs": 3, "precision": "float32"}}
    whole, _ = sweep(tmp_path / "whole", "auto", of_float32)
    run_epoch, calls = FusedSearch.run_epoch, iter(range(100))

    def killed(self: FusedSearch, searches: Any) -> Any:
        if next(calls) == 5:  # before the last epoch of the second group
            raise KilledError
        return run_epoch(self, searches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FusedSearch, "run_epoch", killed)
        with pytest.raises(CrashError, match="KilledError"):
            sweep(tmp_path / "killed", "auto", of_float32)
    run = RunDirectory.open(tmp_path / "killed" / "run")
    assert [len(trial.rows()) for trial in run.trials()] == [3, 3, 2, 2]
    resumed = run_here("resume", run.path)
    assert resumed.code == 0, resumed.err
    assert sizes(run) == sizes(whole) == {trial: [2, 2, 2] for trial in ("0000", "0001", "0002", "0003")}
    for one, other in zip(run.trials(), whole.trials(), strict=True):
        assert list(numbers(one.rows())) == list(numbers(other.rows())), one.id


def test_each_trial_of_a_group_is_tracked_by_itself(tmp_path: Path) -> None:
    run, _ = sweep(tmp_path, 2, {"track": {"tensorboard": True}, "search": {"lr": 0.05}})
    assert sizes(run) == {"0000": [2, 2], "0001": [2, 2]}
    for trial in run.trials():
        (events,) = (Path(str(trial.path)) / "tensorboard").rglob("*tfevents*")
        content = events.read_bytes()
        assert content.count(b"validation_accuracy") >= 2


def test_a_search_that_diverges_fails_alone_and_in_the_same_words(tmp_path: Path) -> None:
    wild = {"search": {"lr": {"grid": [0.05, 1e200]}, "grad_clip": 0}}
    fused, _ = sweep(tmp_path / "fused", 4, wild, code=1)
    alone, _ = sweep(tmp_path / "alone", "off", wild, code=1)
    assert [(trial.result() or {})["status"] for trial in fused.trials()] == ["completed"] * 2 + ["failed"] * 2
    assert_equal(fused, alone)


def test_what_cannot_be_fused_runs_alone_and_the_reason_is_said_before(tmp_path: Path) -> None:
    relaxations = ["softmax", {"name": "gumbel", "hard": True}]
    mixed = {"search": {"relaxation": {"choice": relaxations}, "lr": 0.05, "epochs": 1}}
    run, told = sweep(tmp_path, 2, mixed)
    reason = "not fused: some configurations run alone: the relaxation gumbel leaves out other candidates"
    assert reason in told.out
    assert reason in run_here("validate", tmp_path / "small.yaml").out
    assert reason in run_here("sweep", tmp_path / "small.yaml", "--dry-run").out
    assert "not fused" not in run_here("validate", tmp_path / "small.yaml", "--set", "sweep.fuse=off").out
    graph = "no CUDA graph: some configurations run without: the relaxation gumbel draws at random"
    assert graph in run_here("validate", tmp_path / "small.yaml", "--set", "search.cuda_graph=true").out
    assert graph not in told.out  # on a CPU there is none to miss
    assert graph in run_here("validate", tmp_path / "small.yaml", "--set", "sweep.resources={cpus: 1, gpus: 1}").out
    names = {trial.id: trial.description()["config"]["relaxation"]["name"] for trial in run.trials()}
    assert sizes(run) == {trial: [2] if name == "softmax" else [1] for trial, name in names.items()}


def test_a_fused_sweep_shows_its_plan_and_its_trials(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SPEC))
    assert "trials at a time: sweep 4 (up to 2 in a process)" in run_here("validate", tmp_path / "small.yaml").out
    alone = run_here("validate", tmp_path / "small.yaml", "--set", "sweep.fuse=off").out
    assert "trials at a time: sweep 2\n" in alone
    done = run_here("validate", tmp_path / "small.yaml", "--set", "sweep.fuse=1")
    assert done.code == 2
    assert "sweep.fuse" in done.err
