"""Presets: the merge, what is refused and where, and the published numbers, written here by hand."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.loader import LoadedSpec, load_plain, load_spec, unique_grid
from raydarts.config.plan import plan
from raydarts.config.presets import FOLDER, KINDS_OF, Preset, all_presets, read_preset
from raydarts.config.source import read_file
from raydarts.errors import Problem, SpecError
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.registry import members
from raydarts.search.settings import SearchSettings

ROOT = Path(__file__).parent.parent.parent.parent
PRESETS = {f"{preset.kind}/{preset.name}": preset for preset in all_presets()}

DARTS = {"name": "darts-cnn", "channels": 16, "layers": 8, "nodes": 4}
SECOND = {"name": "finite_difference", "xi": "lr", "epsilon": 0.01}
CROPS = {"crop_padding": 4, "flip": True, "cutout_length": 0}
CUTOUT = {"crop_padding": 4, "flip": True, "cutout_length": 16, "cutout_probability": 1}
PAPER_SEARCH = {
    **{"epochs": 50, "batch_size": 64, "lr": 0.025, "lr_min": 0, "momentum": 0.9, "weight_decay": 3e-4, "grad_clip": 5},
    **{"arch_lr": 3e-4, "arch_betas": [0.5, 0.999], "arch_weight_decay": 1e-3, "alpha_init": 0},
    **{"space": DARTS, "relaxation": "softmax", "estimator": SECOND, "selection": "argmax", "augment": CROPS},
}
CODE_SEARCH = PAPER_SEARCH | {"lr_min": 0.001, "alpha_init": 1e-3}
CIFAR = {
    **{"epochs": 600, "batch_size": 96, "schedule": "cosine", "lr": 0.025, "lr_min": 0, "lr_factor": None},
    **{"warmup_epochs": 0, "momentum": 0.9, "weight_decay": 3e-4, "grad_clip": 5, "drop_path": 0.2},
    "label_smoothing": 0,
    "network": {"channels": 36, "layers": 20, "auxiliary_weight": 0.4, "stem": "cifar"},
    "augment": CUTOUT,
}
WINDOWS = {"random_resized_crop": [0.08, 1], "flip": True, "cutout_length": 0}
IMAGENET = {
    **{"epochs": 250, "batch_size": 128, "schedule": "exponential", "lr": 0.1, "lr_min": 0, "lr_factor": 0.97},
    **{"warmup_epochs": 0, "momentum": 0.9, "weight_decay": 3e-5, "grad_clip": 5, "drop_path": 0},
    "label_smoothing": 0.1,
    "network": {"channels": 48, "layers": 14, "auxiliary_weight": 0.4, "stem": "imagenet"},
    "augment": WINDOWS | {"colour_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2}},
}
RECURRENT = {
    **{"name": "darts-rnn", "nodes": 8, "units": 300, "embedding_dropout": 0, "input_dropout": 0.2},
    **{"cell_dropout": 0.75, "hidden_dropout": 0.25, "output_dropout": 0.75},
    **{"activation_regularization": 0, "slowness": 1e-3},
}
PTB_SEARCH = {
    **{"epochs": 50, "batch_size": 256, "lr": 20, "lr_min": 20, "momentum": 0, "weight_decay": 5e-7},
    **{"arch_lr": 3e-3, "arch_betas": [0.9, 0.999], "arch_weight_decay": 1e-3, "alpha_init": 0, "grad_clip": 0.25},
    **{"space": RECURRENT, "relaxation": "softmax", "estimator": SECOND | {"grad_clip": 0.25}, "selection": "argmax"},
    "text": {"bptt": 35, "short_probability": 0.05, "bptt_deviation": 0, "measured_columns": 10},
}
PTB = {
    **{"epochs": 8000, "batch_size": 64, "lr": 20, "weight_decay": 8e-7, "grad_clip": 0.25, "nonmonotone": 5},
    "test_columns": 1,
    "text": {"bptt": 35, "short_probability": 0.05, "bptt_deviation": 5, "measured_columns": 10},
    "network": {key: value for key, value in RECURRENT.items() if key not in ("name", "nodes")}
    | {"units": 850, "embedding_dropout": 0.1},
}
LINE = {"schedule": "linear", "lr_factor": None}
SMALL = {"channels": 16, "layers": 8, "auxiliary_weight": 0.4, "stem": "cifar"}
PUBLISHED: dict[str, dict[str, Any]] = {
    "search/darts-cifar10": PAPER_SEARCH,
    "search/darts-cifar10-code": CODE_SEARCH,
    "search/robustdarts-cifar100": CODE_SEARCH | {"regularizers": []},
    "search/robustdarts-svhn": CODE_SEARCH | {"regularizers": []},
    "search/pc-darts-imagenet": CODE_SEARCH
    | {"batch_size": 1024, "lr": 0.5, "lr_min": 0, "arch_lr": 6e-3, "estimator": "first_order", "augment": WINDOWS}
    | {"space": DARTS | {"stem": "imagenet"}},
    "data/pc-darts-imagenet": {
        **{"dataset": "imagenet", "alpha_fraction": 0.2, "validation_fraction": 0.1, "limit": 177940}
    },
    "data/darts-ptb": {"dataset": "ptb", "alpha_from": "validation"},
    "data/darts-wikitext2": {"dataset": "wikitext2"},
    "search/darts-ptb": PTB_SEARCH,
    "training/darts-ptb": PTB,
    "training/darts-wikitext2": PTB
    | {"weight_decay": 5e-7, "network": PTB["network"] | {"units": 700, "hidden_dropout": 0.15}},
    "training/darts-cifar10": CIFAR,
    "training/darts-cifar10-code": CIFAR,
    "training/robustdarts-cifar100": CIFAR | {"network": SMALL},
    "training/robustdarts-svhn": CIFAR | {"network": SMALL},
    "training/p-darts-cifar10": CIFAR | {"batch_size": 128, "drop_path": 0.3},
    "training/p-darts-cifar100": CIFAR | {"batch_size": 128, "drop_path": 0.3},
    "training/pc-darts-cifar10": CIFAR | {"drop_path": 0.3},
    "training/darts-imagenet": IMAGENET,
    "training/p-darts-imagenet": IMAGENET | LINE | {"batch_size": 256},
    "training/pc-darts-imagenet": IMAGENET | LINE | {"batch_size": 1024, "lr": 0.5, "warmup_epochs": 5},
}


def load(tmp_path: Path, text: str, *sets: str) -> LoadedSpec:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return load_spec(path, sets)


def problems(tmp_path: Path, text: str, *sets: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text, *sets)
    return caught.value.problems


def searched(loaded: LoadedSpec) -> SearchSettings:
    return loaded.settings_of(loaded.search.materialise(None))


def trained(loaded: LoadedSpec) -> EvaluationSettings:
    assert loaded.evaluate is not None
    assert isinstance(loaded.evaluate.training, EvaluationSettings)
    return loaded.evaluate.training


def agrees(found: Any, expected: Any) -> bool:
    """Whether settings, written out, have the expected values; a choice may be expected by its name alone."""
    if isinstance(expected, Mapping):
        return all(key in found and agrees(found[key], value) for key, value in expected.items())
    return bool(found == expected) or (isinstance(found, dict) and found.get("name") == expected)


_ON_TEXT = "data: {dataset: pydoc_topics}\n"
_RECURRENT = {
    "data/darts-ptb": "search: {space: darts-rnn}\n",
    "data/darts-wikitext2": "search: {space: darts-rnn}\n",
    "search/darts-ptb": _ON_TEXT,
    "training/darts-ptb": f"{_ON_TEXT}search: {{space: darts-rnn}}\n",
    "training/darts-wikitext2": f"{_ON_TEXT}search: {{space: darts-rnn}}\n",
}
"""The rest of a spec that presets for text need."""


@pytest.mark.parametrize("key", list(PRESETS))
def test_each_preset_has_exactly_the_published_values(key: str, tmp_path: Path, monkeypatch: Any) -> None:
    preset, expected = PRESETS[key], PUBLISHED[key]
    assert preset.values.plain() == expected
    monkeypatch.setattr(members("dataset")["imagenet"], "check", lambda self: None)  # the images are not here
    section = {kind: place for place, kind in KINDS_OF.items()}[preset.kind]
    spec = _RECURRENT.get(key, "{}")
    loaded = load(tmp_path, spec, f"{section}.preset={preset.name}")
    settings = {
        "data": loaded.data,
        "search": searched(loaded),
        "training": loaded.evaluate and loaded.evaluate.training,
    }
    chosen = settings[preset.kind]
    assert chosen is not None
    assert agrees(chosen.model_dump(mode="json"), expected)
    assert loaded.presets == {section: (preset.name,)}


@pytest.mark.parametrize("key", list(PRESETS))
def test_each_preset_says_what_it_is_and_where_each_value_is_from(key: str) -> None:
    preset = PRESETS[key]
    root = read_file(FOLDER / f"{key}.yaml")[0].plain()
    assert list(root) == ["name", "for", "about", "source", "values"]
    assert f"{root['for']}/{root['name']}" == key
    assert preset.about
    assert set(root["source"]) == set(root["values"]) <= {"paper", "code", "ours"}
    leaves = sum(len(list(_leaves(block))) for block in root["values"].values())
    assert leaves == len(preset.origins), "a value stands under two origins"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict) and "name" not in value:
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]


def test_the_files_are_all_in_the_wheel_and_all_have_their_numbers_here() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["raydarts"]
    shipped = {
        path for pattern in patterns if pattern.startswith("presets") for path in (ROOT / "raydarts").glob(pattern)
    }
    files = {path for path in FOLDER.rglob("*") if path.is_file()}
    assert files == shipped
    assert {f"{path.parent.name}/{path.stem}" for path in files} == set(PUBLISHED) == set(PRESETS)


def test_defaults_equal_the_papers_values() -> None:
    augment = {"augment": None}
    defaults = SearchSettings().model_dump(mode="json")
    assert agrees(defaults, {key: value for key, value in PAPER_SEARCH.items() if key not in augment})
    training = EvaluationSettings().model_dump(mode="json")
    assert agrees(training, {key: value for key, value in CIFAR.items() if key not in augment})


def test_own_keys_win_mappings_are_merged_and_all_else_is_replaced_whole(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "search:\n  preset: darts-cifar10\n  epochs: 3\n  augment: {cutout_length: 8}\n  arch_betas: [0.9, 0.99]\n"
        "  space: {name: darts-cnn, nodes: 2}\n"
        "evaluate:\n  training:\n    preset: darts-imagenet\n    network: {layers: 8}\n"
        "    augment: {colour_jitter: {hue: 0}}\n",
    )
    search, training = searched(loaded), trained(loaded)
    assert (search.epochs, search.batch_size, search.arch_betas) == (3, 64, (0.9, 0.99))
    assert (search.augment.crop_padding, search.augment.cutout_length) == (4, 8)
    assert search.space.plain()["nodes"] == 2
    assert (training.network.layers, training.network.channels) == (8, 48)
    assert (training.augment.colour_jitter.hue, training.augment.colour_jitter.brightness) == (0, 0.4)
    assert training.augment.random_resized_crop == (0.08, 1)


def test_a_choice_is_replaced_with_its_settings(tmp_path: Path) -> None:
    text = "search:\n  preset: darts-cifar10\n  estimator: {name: exact_hvp}\n"
    assert searched(load(tmp_path, text)).estimator.plain() == {"name": "exact_hvp", "xi": "lr", "grad_clip": 0.0}
    (problem,) = problems(tmp_path, "search:\n  preset: darts-cifar10\n  space:\n    channels: 4\n")
    assert (problem.line, problem.path) == (3, "search.space")
    assert "name" in problem.message


def test_later_presets_of_a_list_win(tmp_path: Path) -> None:
    text = "evaluate:\n  training:\n    preset: [{}, {}]\n"
    orders = [("pc-darts-cifar10", "p-darts-cifar10"), ("p-darts-cifar10", "pc-darts-cifar10")]
    found = [trained(load(tmp_path, text.format(*order))) for order in orders]
    assert [each.batch_size for each in found] == [128, 96]
    mixed = trained(load(tmp_path, text.format("darts-imagenet", "darts-cifar10")))
    assert mixed.augment.random_resized_crop == (0.08, 1)  # of the first: the second says nothing of it
    assert (mixed.epochs, mixed.augment.cutout_length) == (600, 16)


def test_distributions_stay_in_the_order_of_the_spec(tmp_path: Path) -> None:
    text = "search:\n  preset: darts-cifar10\n  seed: {grid: [0, 1]}\n  lr: {grid: [0.1, 0.2]}\n"
    loaded = load(tmp_path, text)
    assert [dimension.name for dimension in loaded.search.distributions()] == ["search.seed", "search.lr"]
    assert [(draw.plain["seed"], draw.plain["lr"]) for draw in unique_grid(loaded)][:2] == [(0, 0.1), (0, 0.2)]


def test_set_names_a_preset_and_changes_its_values(tmp_path: Path) -> None:
    for sets in (
        ("search.preset=darts-cifar10-code", "search.space.channels=4"),
        ("search.space.channels=4", "search.preset=darts-cifar10-code"),
        ("search={preset: darts-cifar10-code}", "search.space.channels=4"),
    ):
        loaded = load(tmp_path, "search: {epochs: 2}\n", *sets)
        assert searched(loaded).space.plain()["channels"] == 4
        assert searched(loaded).alpha_init == 1e-3
        assert loaded.presets == {"search": ("darts-cifar10-code",)}
    dropped = load(tmp_path, "search: {preset: darts-cifar10-code}\n", "search.preset=null")
    assert (searched(dropped).lr_min, dropped.presets) == (0, {})
    assert searched(load(tmp_path, "search: {lr: 1}\n", "search.lr=2", "search={epochs: 2}")).lr == 0.025


def test_stored_spec_has_preset_values_and_preset_names(tmp_path: Path) -> None:
    text = "search: {preset: darts-cifar10-code, epochs: 2}\nevaluate: {training: {preset: [p-darts-cifar10]}}\n"
    loaded = load(tmp_path, text)
    stored = json.loads(json.dumps(loaded.to_plain()))
    assert stored["presets"] == {"search": ["darts-cifar10-code"], "evaluate.training": ["p-darts-cifar10"]}
    assert stored["search"]["lr_min"] == 0.001
    assert "preset" not in stored["search"]
    again = load_plain(stored, "run.json")
    assert again.to_plain() == stored
    assert again.presets == loaded.presets
    assert plan(again).to_json()["presets"] == stored["presets"]


# name: (the spec, the line, the dotted path, what the message must hold)
BAD: dict[str, tuple[str, int, str, list[str]]] = {
    "unknown": (
        "search:\n  epochs: 2\n  preset: darts-cifar\n",
        3,
        "search.preset",
        ["unknown preset 'darts-cifar'", "did you mean 'darts-cifar10'", "robustdarts-svhn"],
    ),
    "unknown in a list": (
        "evaluate:\n  training:\n    preset:\n      - darts-cifar10\n      - darts-imagnet\n",
        5,
        "evaluate.training.preset",
        ["did you mean 'darts-imagenet'"],
    ),
    "of another section": (
        "search:\n  preset: p-darts-cifar10\n",
        2,
        "search.preset",
        ["belongs under evaluate.training", "allowed here: darts-cifar10"],
    ),
    "a number": ("search:\n  preset: 3\n", 2, "search.preset", ["the name of a preset or a list of names", "3"]),
    "swept": (
        "search:\n  preset:\n    choice: [darts-cifar10, darts-cifar10-code]\n",
        2,
        "search.preset",
        ["cannot be swept", "two sweeps"],
    ),
    "swept in a list": (
        "search:\n  preset: [darts-cifar10, {grid: [darts-cifar10-code]}]\n",
        2,
        "search.preset",
        ["cannot be swept"],
    ),
    "under a distribution": (
        "search:\n  choice:\n    - epochs: 2\n    - preset: darts-cifar10\n      epochs: 1\n",
        4,
        "search",
        ["cannot stand under a distribution (choice)", "search.preset"],
    ),
    "beside a distribution": (
        "search:\n  preset: darts-cifar10\n  choice: [{epochs: 2}]\n",
        2,
        "search.preset",
        ["cannot stand beside a distribution (choice)"],
    ),
    "where there are none": ("sweep:\n  preset: darts-cifar10\n", 2, "sweep.preset", ["unknown key 'preset'"]),
    "own key beside a preset": (
        "search:\n  preset: darts-cifar10\n\n  epoch: 3\n",
        4,
        "search.epoch",
        ["unknown key 'epoch'", "did you mean 'epochs'"],
    ),
    "own key in a merged mapping": (
        "evaluate:\n  training:\n    preset: darts-imagenet\n    network:\n      channels: 1\n",
        5,
        "evaluate.training.network.channels",
        ["at least 2"],
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_invalid_preset_is_reported_with_its_line(name: str, tmp_path: Path) -> None:
    text, line, path, parts = BAD[name]
    (problem,) = problems(tmp_path, text)
    assert (Path(problem.file).name, problem.line, problem.path) == ("spec.yaml", line, path)
    assert all(part in problem.message for part in parts), problem.message


def test_error_in_a_preset_value_names_the_preset(tmp_path: Path) -> None:
    text = "evaluate:\n  training:\n    preset: pc-darts-imagenet\n    epochs: 4\n"
    (problem,) = problems(tmp_path, text)
    lines = (FOLDER / "training" / "pc-darts-imagenet.yaml").read_text().splitlines()
    assert problem.file == "preset pc-darts-imagenet"
    assert "warmup_epochs" in lines[problem.line - 1]
    assert "fewer than epochs (4)" in problem.message


def test_changing_one_use_of_a_preset_leaves_the_next_alone(tmp_path: Path) -> None:
    load(tmp_path, "search: {preset: darts-cifar10}\n", "search.space.channels=99")
    assert searched(load(tmp_path, "search: {preset: darts-cifar10}\n")).space.plain()["channels"] == 16
    assert isinstance(read_preset("search", "darts-cifar10"), Preset)


def test_the_cnn_sweep_writes_out_the_papers_preset() -> None:
    plain = read_file(ROOT / "sweeps" / "cnn.yaml")[0].plain()
    swept = {"estimator", "regularizers", "seed"}
    written = {key: value for key, value in plain["search"].items() if key not in swept}
    assert written
    assert agrees(PAPER_SEARCH, written)
    assert agrees(CIFAR, plain["evaluate"]["training"])
