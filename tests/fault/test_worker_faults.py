"""What befalls one of several workers, or the process that watches them: a trial that meets one after the other."""

from __future__ import annotations

import json

import pytest

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.sweeping.genotype_sources import read_genotypes
from raydarts.sweeping.runner import start_sweep
from tests.fault import team
from tests.fault.fakes import FakeJob, genotype


@pytest.fixture(scope="module")
def trial(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> TrialDirectory:
    folder = tmp_path_factory.mktemp("team")
    # The limit covers the start of two processes after a loss, on cores that other tests use.
    loaded = team.team(folder, epoch_timeout=16)
    (folder / "genotype.json").write_text(json.dumps(genotype(1)))  # no search: a process less
    given = read_genotypes(loaded, [folder / "genotype.json"])
    code = start_sweep(loaded, folder, builder=team.BUILDER, display=False, stage="evaluate", genotypes=given)
    assert code == 1, "the trial fails in the end"
    (found,) = RunDirectory.open(folder / "fake").evaluations()
    return found


def test_it_goes_on_each_time_as_if_nothing_had_been(trial: TrialDirectory) -> None:
    found = [(entry["what"], entry["epochs"]) for entry in trial.failures()]
    assert found[:3] == [("timeout", 1), ("lost", 2), ("lost", 3)]
    whole = FakeJob(team.SETTINGS, "evaluation")
    assert trial.rows() == [whole.run_epoch() for _ in range(4)]
    assert len(trial.times()) == 4


def test_a_worker_without_gpu_memory_fails_the_trial_by_name(trial: TrialDirectory) -> None:
    last = trial.failures()[3:]
    assert [(entry["what"], entry["epochs"]) for entry in last] == [("gpu_memory", 4)]
    record = results.read_trial(trial)
    assert record.status == "failed"
    assert "MemoryFullError: CUDA out of memory" in record.result["error"]
    assert record.epochs == 4
