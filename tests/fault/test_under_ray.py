"""One sweep of every fault of a trial under real Ray ends as it does in this process, where the other tests run theirs.

Further contracts with real Ray: the driver killed (test_paused_trials), a node lost (test_multinode), the head lost
(cluster/test_submit), workers of one evaluation lost (test_worker_faults), the storage away (e2e/test_object_storage).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import resources
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.sweeping.runner import start_sweep
from tests.fault import fakes
from tests.here import sweeps_run_here

FAULTS = {
    "0000": [("lost", 1, 2)],
    "0001": [("files", 1, 2)],
    "0002": [("timeout", 1, 2)],
    "0003": [("gpu_memory", 1, 2), ("gpu_memory", 2, 2)],
    "0004": [],
    "0005": [("lost", 1, 0), ("lost", 2, 0), ("lost", 3, 0)],
}
"""Of each trial: what befell it, in which attempt, after how many epochs."""


def sweep(folder: Path) -> RunDirectory:
    """Six trials: killed, without its disk, hung, without GPU memory, wrong by itself, killed too often."""
    folder.mkdir()
    mark = lambda name: str(folder / name)  # noqa: E731
    troubles: dict[int, dict[str, Any]] = {
        0: {"kill_once": mark("kill")},
        1: {"io_error_once": mark("io")},
        2: {"hang": [mark("hang"), 1]},
        3: {"needs_gpus": 0.9, "shares": mark("shares")},
        4: {"fail_at": 3},
        5: {"kills": [mark("kills"), [1, 1, 1]]},
    }
    loaded = fakes.loaded(
        {"name": "random", "trials": 6},
        per_trial=troubles,
        evaluate={"top_k": 2, "seeds": [0, 1], "resources": {"cpus": 2}},  # one after the other: a process less
        resources={"cpus": 1, "gpus": 0.25},
        out_of_memory={"retries": 2, "grow": 2},
        epoch_timeout=20,  # other tests run on these cores
        max_failures=2,
    )
    assert start_sweep(loaded, folder, builder=fakes.BUILDER, display=False, command=["test"]) == 1
    return RunDirectory.open(folder / "fake")


@pytest.fixture(scope="module")
def under_ray(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "capacity", lambda address: {"cpus": 2.0, "gpus": 1.0})
        yield sweep(tmp_path_factory.mktemp("ray") / "run")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    with sweeps_run_here():
        return sweep(tmp_path_factory.mktemp("here") / "run")


@pytest.fixture(params=[pytest.param("under_ray", marks=pytest.mark.ray), "here"])
def run(request: pytest.FixtureRequest) -> RunDirectory:
    found: RunDirectory = request.getfixturevalue(request.param)
    return found


def test_each_trial_meets_its_fault_and_ends_as_it_must(run: RunDirectory) -> None:
    found = {
        trial.id: [(entry["what"], entry["attempt"], entry["epochs"]) for entry in trial.failures()]
        for trial in run.trials()
    }
    assert found == FAULTS
    records = {record.id: record for record in results.trials(run)}
    assert [record.status for record in records.values()] == ["completed"] * 4 + ["failed"] * 2
    assert "the fake fails here" in records["0004"].result["error"]
    assert "more often than max_failures (2) allows" in records["0005"].result["error"]
    assert (run.path.parent / "shares").read_text().split() == ["0.25", "0.5", "1"]


def test_a_trial_that_goes_on_has_the_rows_of_one_that_was_never_hit(run: RunDirectory) -> None:
    for trial in run.trials()[:4]:
        whole = fakes.search_job(trial.description(), run.description(), **UNHARMED)
        assert trial.rows() == [whole.run_epoch() for _ in range(4)]
        assert len(trial.times()) == 4, "no epoch was run twice"


UNHARMED = dict.fromkeys(("kill_once", "io_error_once", "hang", "needs_gpus"))


def outcome(run: RunDirectory) -> Any:
    report = results.report_json(run)
    trials = [(trial["id"], trial["status"], trial["choices"], trial["metrics"]) for trial in report["trials"]]
    files = sorted(
        str(path.relative_to(run.path)) for path in Path(str(run.path)).rglob("*") if path.name.endswith((".json", "l"))
    )
    kept = [name for name in files if not name.startswith("ray/")]
    events = sorted(str(event) for event in run.events())
    return trials, report["promotion"], report["evaluations"], report["ranking"], kept, events


def test_both_write_the_same_results_events_and_files(under_ray: RunDirectory, here: RunDirectory) -> None:
    assert outcome(under_ray) == outcome(here)
