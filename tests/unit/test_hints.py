"""Every setting that a message names exists: those written in the sources, and those put together at run time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import raydarts
from raydarts.config.loader import load_spec
from raydarts.config.spec import AnswerSettings, BudgetSettings, RungSettings, SweepSettings, TransferSettings
from raydarts.config.track import TrackSettings
from raydarts.data.settings import DataSettings
from raydarts.evaluation.trainings import SETTINGS
from raydarts.execution import gpu_memory
from raydarts.registry import ByName, Choose, members
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import retraining
from raydarts.runs.memory import advised
from raydarts.search.settings import SearchSettings

SECTIONS: dict[str, type[BaseModel]] = {
    "search": SearchSettings,
    "sweep": SweepSettings,
    "data": DataSettings,
    "evaluate": AnswerSettings,
    "rungs": RungSettings,
    "transfer": TransferSettings,
    "budget": BudgetSettings,
    "track": TrackSettings,
}
NAMED = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})(?:\.[a-z0-9_]+)+(?![\w(/-])")
FILES = re.compile(r"\.(?:py|json|jsonl|yaml|html|preset)$")
"""No settings of a model: files, and presets, which are laid under a section before it is read."""
ROOT = Path(raydarts.__file__).parent


def inside(annotation: Any, metadata: Any = ()) -> Iterator[type[BaseModel]]:
    """The models of settings that a field may hold."""
    for item in metadata:
        if isinstance(item, Choose):
            yield from (member.Settings for member in members(item.family).values())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from inside(argument, getattr(argument, "__metadata__", ()))


def exists(path: str) -> bool:
    section, *rest = path.split(".")
    models: list[type[BaseModel]] = [SECTIONS[section]]
    for part in rest:
        if part.isdigit():
            continue
        if issubclass(models[0], ByName):
            models = [members(models[0].FAMILY)[part].Settings]
            continue
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        if not fields and part != "name":
            return False
        models = [model for field in fields for model in inside(field.annotation, field.metadata)]
        if part == "training":
            models = list(SETTINGS.values())
    return True


def strings(path: Path) -> Iterator[str]:
    """The texts of a module, docstrings among them; a gap of an f-string is a space."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else " " for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def named_in(text: str) -> list[str]:
    """The settings in a text; modules of raydarts are none."""
    found = [name for name in NAMED.findall(text) if not FILES.search(name)]
    return [name for name in found if not (ROOT / name.replace(".", "/")).with_suffix(".py").exists()]


def test_detects_settings_that_do_not_exist() -> None:
    assert exists("search.estimator.xi")
    assert exists("rungs.0.training.network.channels")
    assert exists("data.dataset.workers")
    assert not exists("search.precison")
    assert not exists("evaluate.max_concurrent")
    assert named_in("set evaluate.training.bfloat16 or raydarts.search.loop") == ["evaluate.training.bfloat16"]


def test_every_setting_named_in_the_sources_exists() -> None:
    named = {name: path.name for path in ROOT.rglob("*.py") for text in strings(path) for name in named_in(text)}
    assert len(named) > 30
    assert {name: where for name, where in named.items() if not exists(name)} == {}


IMAGES = """
data: {dataset: {name: digits}}
search: {space: {name: darts-cnn, channels: 2, layers: 3, nodes: 2}, epochs: 1}
rungs: [{top_k: 4, training: {epochs: 1}}]
evaluate: {training: {amp: bfloat16}}
transfer: [{name: other, training: {epochs: 1}}]
"""
TEXT = """
data: {dataset: pydoc_topics, limit: 2000}
search: {space: {name: darts-rnn, nodes: 2, units: 6}, epochs: 1, text: {measured_columns: 10}}
evaluate: {}
"""


def trial_of(folder: Path, text: str, stage: str) -> TrialDirectory:
    spec = folder / "spec.yaml"
    spec.write_text(text)
    loaded = load_spec(spec)
    run = RunDirectory.create(folder / "run", kind="sweep", spec=loaded.to_plain())
    if stage == "search":
        trial = run.trial(0)
        config = loaded.settings_of(loaded.search.materialise(None)).model_dump(mode="json")
        trial.create({"kind": "search", "index": 0, "config": config, "choices": {}})
    else:
        trial = retraining(run, stage, "g", 0)
        trial.create({"kind": "evaluation", "genotype_id": "g", "genotype": {}, "seed": 0})
    return trial


STAGES = [
    (IMAGES, "search", "sweep", []),
    (IMAGES, "rung-1", "rungs.0", []),
    (IMAGES, "evaluate", "evaluate", []),
    (IMAGES, "transfer-other", "transfer.0", ["transfer.0.training.amp"]),
    (TEXT, "search", "sweep", []),
    (TEXT, "evaluate", "evaluate", []),
]


@pytest.mark.parametrize("rule", [None, {"retries": 2, "grow": 2}])
@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize(("text", "stage", "section", "mixed"), STAGES)
def test_advice_on_full_memory_names_settings_that_the_stage_has(
    tmp_path: Path, text: str, stage: str, section: str, mixed: list[str], share: float, rule: Any
) -> None:
    trial = trial_of(tmp_path, text, stage)
    told = gpu_memory.advice(trial, share, 0, rule)
    named = named_in(told)
    assert all(exists(name) for name in named), told
    sizes = "search" if stage == "search" else f"{section}.training"
    assert f"{sizes}.batch_size" in named
    assert (f"{section}.resources.gpus" in named) is (share < 1)
    assert [name for name in named if name.endswith(".amp")] == mixed
    assert "precision" not in told
    full = str(advised(MemoryError(), trial))
    assert all(exists(name) for name in named_in(full)), full
    assert ("sweep.max_concurrent" in full) is (stage == "search")


def test_a_trial_that_filled_its_gpu_is_not_advised_a_precision_that_there_is_not(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, IMAGES, "search")
    error = str(gpu_memory.after(trial, {"gpus": 1.0, "out_of_memory": None}, RuntimeError("CUDA out of memory")))
    assert "GPU's memory was full at a share of 1 GPU" in error
    assert "precision" not in error
    assert all(exists(name) for name in named_in(error))
