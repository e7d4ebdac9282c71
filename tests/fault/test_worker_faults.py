"""What befalls one of several workers, or the process that watches them: each trial of one sweep has its trouble."""

from __future__ import annotations

import pytest

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.sweep.runner import start_sweep
from tests.fault import team


@pytest.fixture(scope="module")
def run(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("team")
    code = start_sweep(team.team(folder, epoch_timeout=8), folder, builder=team.BUILDER, display=False)
    assert code == 1, "one of the trials fails"
    return RunDirectory.open(folder / "fake")


def trial_of(run: RunDirectory, trouble: str) -> TrialDirectory:
    (found,) = (each for each in run.evaluations() if team.TROUBLES[each.description()["seed"]] == trouble)
    return found


@pytest.mark.parametrize(
    ("trouble", "what"),
    [
        ("second_hangs", ["timeout"]),
        ("first_stopped", ["lost"]),
        ("watcher_killed", ["lost"]),
    ],
)
def test_it_goes_on_as_if_nothing_had_been(run: RunDirectory, trouble: str, what: list[str]) -> None:
    trial = trial_of(run, trouble)
    assert [entry["what"] for entry in trial.failures()] == what
    whole = team.FakeJob({"lr": 0.5, "seed": trial.description()["seed"], "epochs": 4}, "evaluation")
    assert trial.rows() == [whole.run_epoch() for _ in range(4)]
    assert len(trial.times()) == 4
    assert results.read_trial(trial).status == "completed"


def test_a_worker_without_gpu_memory_fails_the_trial_by_name(run: RunDirectory) -> None:
    trial = trial_of(run, "second_without_memory")
    assert [entry["what"] for entry in trial.failures()] == ["gpu_memory"]
    record = results.read_trial(trial)
    assert record.status == "failed"
    assert "MemoryFullError: CUDA out of memory" in record.result["error"]
    assert record.epochs == 2
