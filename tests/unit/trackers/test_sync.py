"""`raydarts wandb sync`: from a run's directory to W&B, on a sweep page; doing it again sends nothing again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raydarts.config.parsing import stored_tree
from raydarts.errors import InputError
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_json, write_json
from raydarts.trackers.wandb import names, state
from raydarts.trackers.wandb.sweeps import parameters
from raydarts.trackers.wandb.sync import sync
from tests.synthetic_run import write_run
from tests.unit.trackers.stand_in import KEY, StandIn, stand_in

pytestmark = pytest.mark.slow

SEARCH = {
    "seed": {"grid": [0, 1]},
    "epochs": 6,
    "lr": {"loguniform": [0.001, 1]},
    "momentum": {"uniform": [0, 1]},
    "batch_size": {"randint": [16, 64]},
    "grad_clip": {"quniform": [0, 5, 2.5]},
    "estimator": {
        "choice": [
            "first_order",
            {"name": "finite_difference", "xi": {"grid": [0, 0.1, "lr"]}, "epsilon": {"loguniform": [0.001, 0.1]}},
            {"name": "exact_hvp", "xi": {"grid": [0.2]}},
        ]
    },
    "regularizers": {"choice": [[], [{"name": "beta_decay", "strength": {"uniform": [0, 50]}}]]},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    import wandb

    with stand_in() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
            monkeypatch.setenv(name, str(tmp_path / "home"))
        for name in ("WANDB_PROJECT", "WANDB_ENTITY"):  # `wandb.sweep` sets them
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        wandb.teardown()
        yield found
        found.trouble = None
        wandb.teardown()


def untracked(folder: Path) -> RunDirectory:
    path = write_run(folder / "syn", trials=2, top_k=1, epochs=2)
    description = read_json(path / "run.json")
    description["spec"]["search"] = SEARCH
    write_json(path / "run.json", description)
    run = RunDirectory.open(path)
    assert len(run.evaluations()) == 3
    for trial in run.evaluations()[1:]:  # one will do
        (trial.path / "trial.json").unlink()
    return run


def test_parameters_are_named_and_typed_as_in_the_runs_configs() -> None:
    found = parameters(stored_tree({"spec": {"search": SEARCH}}))
    assert found == {
        "seed": {"values": [0, 1]},
        "lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0},
        "momentum": {"distribution": "uniform", "min": 0.0, "max": 1.0},
        "batch_size": {"distribution": "int_uniform", "min": 16, "max": 64},
        "grad_clip": {"values": [0.0, 2.5, 5.0]},
        "estimator.name": {"values": ["first_order", "finite_difference", "exact_hvp"]},
        "estimator.xi": {"values": [0.0, 0.1, "lr", 0.2]},
        "estimator.epsilon": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
        "regularizers.names": {"values": ["none", "beta_decay"]},
        "regularizers.beta_decay.strength": {"distribution": "uniform", "min": 0.0, "max": 50.0},
    }
    assert [type(found["momentum"][end]) for end in ("min", "max")] == [float, float]
    assert type(found["lr"]["max"]) is float


def test_an_untracked_run_is_rebuilt_on_a_sweep_page_and_only_once(tmp_path: Path, server: StandIn) -> None:
    run = untracked(tmp_path)
    told: list[str] = []
    assert sync(run.path, told.append) == 3
    ((sweep_id, sweep),) = server.sweeps.items()
    config = yaml.safe_load(sweep["config"])
    assert config["metric"] == {"name": "validation_accuracy.last", "goal": "maximize"}
    assert config["parameters"]["estimator"]["parameters"]["xi"]["values"] == [0.0, 0.1, "lr", 0.2]
    assert type(config["parameters"]["momentum"]["min"]) is float
    searches = [names.run_id(run, trial) for trial in run.trials()]
    (evaluation,) = (names.run_id(run, trial) for trial in run.evaluations())
    assert [server.runs[each]["sweep"] for each in searches] == [sweep_id, sweep_id]
    assert server.runs[evaluation].get("sweep") is None
    assert server.used[0][0] == evaluation
    lines = {name: server.rows(name) for name in server.runs}
    assert [row["epoch"] for row in lines[searches[0]]] == [1, 2]
    assert sync(run.path, told.append) == 0
    assert sync(run.path, told.append, again=True) == 3  # W&B is asked, and has everything
    assert {name: server.rows(name) for name in server.runs} == lines
    assert len(server.sweeps) == 1


def test_refused_data_is_sent_later(tmp_path: Path, server: StandIn) -> None:
    run = untracked(tmp_path)
    server.trouble = "expired"
    with pytest.raises(InputError, match="WANDB_API_KEY"):
        sync(run.path, lambda _: None)
    server.trouble = None
    assert sync(run.path, lambda _: None, project="other") == 3
    assert {state.read_trial(trial).state for trial in run.trials()} == {state.SENT}
    assert sync(run.path, lambda _: None, project="other") == 0
    assert next(iter(server.sweeps.values()))["projectName"] == "other"


def test_settings_that_no_project_can_have_are_refused(tmp_path: Path) -> None:
    run = untracked(tmp_path)
    for given in ({"project": "a/b"}, {"entity": KEY}):
        with pytest.raises(InputError) as caught:
            sync(run.path, lambda _: None, **given)
        assert KEY not in str(caught.value)


def test_offline_files_are_written_from_the_run_directory(tmp_path: Path, server: StandIn) -> None:
    run = untracked(tmp_path)
    told: list[Any] = []
    assert sync(run.path, told.append, mode="offline") == 3
    assert sync(run.path, told.append, mode="offline") == 0
    assert len(list(run.path.glob("*/*/wandb/offline-run-*/*.wandb"))) == 3
    assert server.runs == {}
    assert sync(run.path, told.append) == 3
    assert len(server.runs) == 3
