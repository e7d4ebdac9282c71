"""The names under which a run's configs and metrics stand in W&B."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs, retraining, stage_of
from raydarts.trackers.tensorboard import EventFile
from raydarts.trackers.wandb import names, payload
from tests.synthetic_run import write_run

CONFIG = {
    "epochs": 6,
    "estimator": {"name": "finite_difference", "xi": "lr", "epsilon": 0.01},
    "space": "darts-cnn",
    "augment": {"flip": True, "mean": [0.5, 0.25]},
    "regularizers": ["drop_path", {"name": "beta_decay", "strength": 25.0}, {"name": "my.module:Remedy", "a.b": 1}],
    "probes": [],
    "stages": [{"cells": 5}, {"cells": 11}],
}


def test_a_config_is_flat_dotted_and_typed() -> None:
    assert names.flat_config(CONFIG) == {
        "epochs": 6,
        "estimator.name": "finite_difference",
        "estimator.xi": "lr",
        "estimator.epsilon": 0.01,
        "space.name": "darts-cnn",
        "augment.flip": True,
        "augment.mean": [0.5, 0.25],
        "regularizers.beta_decay.strength": 25.0,
        "regularizers.my_module:Remedy.a_b": 1,
        "regularizers.names": "drop_path, beta_decay, my_module:Remedy",
        "probes.names": "none",
        "stages.0.cells": 5,
        "stages.1.cells": 11,
    }


def test_a_component_by_name_alone_is_the_same_setting_as_one_with_settings() -> None:
    short, long = (names.flat_config({"estimator": value}) for value in ("first_order", {"name": "first_order"}))
    assert short == long == {"estimator.name": "first_order"}


def test_the_same_remedy_twice_keeps_both_strengths() -> None:
    twice = [{"name": "beta_decay", "strength": 1.0}, {"name": "beta_decay", "strength": 2.0}]
    flat = names.flat_config({"regularizers": twice})
    assert (flat["regularizers.beta_decay.strength"], flat["regularizers.beta_decay#2.strength"]) == (1.0, 2.0)


def test_nested_undoes_the_dots() -> None:
    flat = names.flat_config(CONFIG)
    whole = names.nested(flat)
    assert whole["estimator"] == {"name": "finite_difference", "xi": "lr", "epsilon": 0.01}
    for key, value in flat.items():
        found = whole
        for part in key.split("."):
            found = found[part]
        assert found == value


def test_ids_tell_runs_stages_and_trials_apart_and_stay(tmp_path: Path) -> None:
    first = RunDirectory.open(write_run(tmp_path / "a" / "run", trials=2, top_k=1, epochs=1, question="one"))
    second = RunDirectory.open(write_run(tmp_path / "b" / "run", trials=2, top_k=1, epochs=1, question="two"))
    jobs = [(run, job) for run in (first, second) for job in (*run.trials(), *run.evaluations())]
    ids = [names.run_id(run, job) for run, job in jobs]
    assert len(set(ids)) == len(jobs)
    moved = first.path.rename(tmp_path / "elsewhere").rename(tmp_path / "a" / "run")
    again = RunDirectory.open(moved)
    assert [names.run_id(again, job) for job in again.trials()] == ids[:2]
    assert all(len(found) <= 64 and not set("/\\#?%: ") & set(found) for found in ids)
    assert names.group(first) == "run"


def test_metrics_are_the_rows_numbers(tmp_path: Path) -> None:
    run = RunDirectory.open(write_run(tmp_path / "run", trials=3, top_k=1, epochs=2))
    found = names.search_names(run)
    assert {"validation_accuracy", "skips_normal", "eigenvalue", "seconds"} <= set(found.metrics)
    assert not {"epoch", "genotype", "arch_weights"} & set(found.metrics)
    assert {"seed", "estimator.name", "regularizers.beta_decay.strength"} <= set(found.configs[0])
    assert "epochs" not in found.varying
    evaluated = names.evaluation_names(run, "validation_accuracy", {})
    assert set(evaluated.metrics) == {"validation_accuracy", "seconds"}
    assert set(evaluated.configs[0]) == {"genotype_id", "evaluation_seed"}


def test_an_evaluation_says_what_the_supernet_said() -> None:
    described = {"genotype_id": "abc", "seed": 1, "genotype": {}}
    found = names.evaluation_config(described, "validation_accuracy", 0.5)
    assert found == {"genotype_id": "abc", "evaluation_seed": 1, "supernet_validation_accuracy": 0.5}


@pytest.mark.parametrize("kind", ["min", "max", "last"])
def test_summaries_carry_last_min_and_max(kind: str) -> None:
    assert kind in names.SUMMARY.split(",")
    assert names.last("x") == "x.last"


def test_the_same_genotype_and_seed_in_several_stages_are_several_runs(tmp_path: Path) -> None:
    spec = {"evaluate": {}, "rungs": [{"training": {"epochs": 2}}], "transfer": [{"name": "x"}, {"name": "y"}]}
    spec["data"] = {"dataset": "digits"}
    run = RunDirectory.create(tmp_path / "staged", kind="sweep", spec=spec)
    what = {"kind": "evaluation", "genotype_id": "g", "genotype": {}, "seed": 0}
    stages = ["evaluate", "rung-1", "transfer-x", "transfer-y"]
    for stage in stages:
        retraining(run, stage, "g", 0).create(what if stage == "evaluate" else {**what, "stage": stage})
    found = jobs(run)
    assert len({names.run_id(run, trial) for trial in found}) == 4
    assert sorted(payload.job_type(trial.description()) for trial in found) == sorted(stages)
    assert {stage_of(trial) for trial in found} == set(stages)
    assert sorted(names.title(trial).split()[0] for trial in found) == sorted(["evaluation", *stages[1:]])
    rung = next(trial for trial in found if stage_of(trial) == "rung-1")
    config = payload.config(run, run.description(), rung.description())
    assert config["training"] == {"epochs": 2}


def test_a_search_says_its_configuration_and_its_search_seed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={"data": {"dataset": "digits"}})
    what = {"kind": "search", "index": 0, "choices": {}, "config": {"seed": 5, "lr": 0.1}}
    run.trial(0).create({**what, "configuration": 2, "replicate": 5})
    run.trial(1).create({**what, "index": 1})
    one, other = run.trials()
    assert names.title(one) == "trial 0000 (configuration 0002, search seed 5)"
    assert names.title(other) == "trial 0001"
    configs = [payload.config(run, run.description(), trial.description()) for trial in (one, other)]
    assert [config.get("configuration") for config in configs] == [2, None]
    assert "configuration" in names.search_names(run).varying
    event_file = EventFile(one)
    event_file.open()
    event_file.close()
    (file,) = (one.path / "tensorboard").glob("events.*")
    assert b"0002, search seed 5" in file.read_bytes()
