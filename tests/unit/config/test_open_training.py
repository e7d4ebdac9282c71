"""`evaluate.training` with choices: each further setting becomes a stage of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from raydarts.config.loader import LoadedSpec, load_plain, load_spec
from raydarts.config.plan import plan
from raydarts.config.schema import spec_schema
from raydarts.errors import SpecError
from raydarts.single import _idle_in_evaluation
from tests.commands import run_here
from tests.here import sweeps_run_here

TRAINING = {
    "epochs": 3,
    "lr": {"grid": [0.025, 0.1]},
    "augment": {"choice": [{"cutout_length": 4}, {"cutout_length": 0}]},
}


def load(training: Any, **more: Any) -> LoadedSpec:
    evaluate = {"top_k": 2, "seeds": [0, 1, 2], "training": training, **more.pop("evaluate", {})}
    return load_spec(
        {"data": {"dataset": "digits"}, "search": {"seed": {"grid": [0, 1]}}, "evaluate": evaluate, **more}
    )


def settings(loaded: LoadedSpec) -> dict[str, tuple[float, int]]:
    return {
        stage.name: (stage.settings.training.lr, stage.settings.training.augment.cutout_length)  # type: ignore[union-attr]
        for stage in loaded.stages.chain()
    }


def test_each_setting_is_a_stage_with_all_genotypes_of_evaluate_and_its_seeds() -> None:
    loaded = load(TRAINING)
    assert settings(loaded) == {
        "evaluate": (0.025, 4),
        "transfer-lr-0.025-augment-cutout_length_0": (0.025, 0),
        "transfer-lr-0.1-augment-first": (0.1, 4),
        "transfer-lr-0.1-augment-cutout_length_0": (0.1, 0),
    }
    assert [(stage.name, stage.jobs, stage.epochs) for stage in plan(loaded).stages[1:]] == [
        (name, 6, 3) for name in settings(loaded)
    ]
    assert [stage.source for stage in loaded.stages.chain()] == ["search", *["evaluate"] * 3]
    assert settings(load_plain(loaded.to_plain(), "run.json")) == settings(loaded)


def test_a_whole_training_may_be_chosen_and_what_equals_a_default_is_not_trained_twice() -> None:
    loaded = load({"choice": [{"epochs": 2}, {"epochs": 2, "lr": {"grid": [0.025, 0.1]}}]})
    assert [(name, lr) for name, (lr, _) in settings(loaded).items()] == [
        ("evaluate", 0.025),
        ("transfer-training-lr_0.025_0.1-lr-0.1", 0.1),
    ]


def test_rungs_have_the_first_setting_and_transfers_of_the_spec_come_before() -> None:
    other = {"name": "mine", "training": {"epochs": 1}}
    loaded = load(TRAINING, rungs=[{"top_k": 4, "training": {"epochs": 1}}], transfer=[other])
    assert list(settings(loaded))[:4] == [
        "rung-1",
        "evaluate",
        "transfer-mine",
        "transfer-lr-0.025-augment-cutout_length_0",
    ]
    assert settings(loaded)["rung-1"] == (0.025, 4)


def test_what_is_not_open_adds_no_stage_and_equal_settings_count_once() -> None:
    assert list(settings(load({"epochs": 3}))) == ["evaluate"]
    assert list(settings(load({"epochs": 3, "lr": {"grid": [0.1, 0.1]}}))) == ["evaluate"]
    assert list(settings(load({"preset": "darts-cifar10", "lr": {"grid": [0.1, 0.2]}}))) == [
        "evaluate",
        "transfer-lr-0.2",
    ]


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (
            {"lr": {"uniform": [0.1, 0.2]}},
            "evaluate.training.lr: each genotype is retrained with each setting, once; uniform",
        ),
        ({"lr": {"normal": [0.1, 0.01]}}, "normal is no such list: write grid: [values]"),
        ({"lr": {"choice": [0.1, 0.2], "weights": [1, 2]}}, "choice with weights is no such list"),
        ({"lr": {"tied_to": "search.lr"}}, "evaluate.training.lr: a tied value can only stand under search; write the"),
        ({"epochs": {"randint": [1, 100]}}, "evaluate.training: has more than 16 settings"),
        ({"lr": {"grid": [0.1, -0.2]}}, "evaluate.training.lr: must be greater than 0, got -0.2"),
        (
            {"lr": {"grid": [0.1, 0.2]}, "epochs": "x", "momentum": 2},
            "evaluate.training.epochs: must be a whole number",
        ),
    ],
)
def test_what_is_no_list_of_settings_is_refused_once(training: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(training)
    told = str(caught.value).splitlines()
    assert sum(words in line for line in told) == 1
    assert "transfer" not in str(caught.value)


def test_other_stages_and_a_table_take_no_open_training() -> None:
    with pytest.raises(
        SpecError, match=r"rungs\.0\.training\.lr: a distribution \(grid\) can only stand under search, or in"
    ):
        load({"epochs": 3}, rungs=[{"top_k": 3, "training": {"lr": {"grid": [0.1, 0.2]}}}])
    with pytest.raises(
        SpecError, match=r"evaluate\.training: is left open, and nothing is trained where a table is read"
    ):
        load(TRAINING, evaluate={"table": {"file": "x.csv", "validation": "a", "test": "b"}, "seeds": [0]})


def test_an_editor_takes_lists_of_values_there() -> None:
    validator = Draft202012Validator(spec_schema())
    assert validator.is_valid({"evaluate": {"training": TRAINING}})
    assert validator.is_valid({"evaluate": {"training": {"nonmonotone": {"grid": [2, 3]}}}})
    assert not validator.is_valid({"evaluate": {"training": {"lr": {"uniform": [0.1, 0.2]}}}})
    assert not validator.is_valid({"evaluate": {"training": {"lr": {"tied_to": "search.lr"}}}})


def test_a_single_evaluation_says_which_settings_it_does_not_use() -> None:
    loaded = load({"epochs": 3, "lr": {"grid": [0.025, 0.1]}}, evaluate={"seeds": [0]})
    assert loaded.evaluate is not None
    told = list(_idle_in_evaluation(loaded, loaded.evaluate, False))
    assert told == [
        "transfer lr-0.1 is another training, and this trains with that of evaluate; 'raydarts sweep' uses it"
    ]


SPEC = """
data: {dataset: digits, limit: 100}
search:
  seed: {grid: [0, 1]}
  epochs: 1
  batch_size: 16
  estimator: first_order
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
sweep: {halt: false}
evaluate:
  top_k: 2
  seeds: [0]
  training:
    epochs: 1
    batch_size: 16
    network: {channels: 2, layers: 3, auxiliary_weight: 0}
    lr: {grid: [0.025, 0.1]}
"""


def test_a_sweep_ranks_under_each_setting_and_the_certificate_says_several(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC)
    with sweeps_run_here():
        done = run_here("sweep", "s.yaml", "--storage", "runs", "--name", "one", cwd=tmp_path)
    assert done.code == 0, done.err
    report = json.loads(run_here("report", "runs/one", "--json", cwd=tmp_path).out)
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages) == ["evaluate", "transfer-lr-0.1"]
    genotypes = [{row["genotype"] for row in stage["ranking"]} for stage in stages.values()]
    assert genotypes[0] == genotypes[1]
    assert run_here("report", "runs/one", "--certificate", "--out", "c.json", cwd=tmp_path).code == 0
    certificate = json.loads((tmp_path / "c.json").read_text())
    (item,) = [
        each
        for checklist in certificate["checklists"]
        for each in checklist["items"]
        if "several training settings" in each["question"]
    ]
    assert item["answer"] == "yes"
