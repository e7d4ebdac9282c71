"""The learning rate of each epoch: the published values, worked by hand; it acts, and goes on after a resume."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.config.loader import load_spec
from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import SpecError
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.schedule import learning_rate
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.spaces import Genotype

pytestmark = pytest.mark.usefixtures("one_thread")

CELL = [["sep_conv_3x3", 0], ["skip_connect", 1]]
GENOTYPE = Genotype.from_json({"normal": CELL, "normal_concat": [2], "reduce": CELL, "reduce_concat": [2]})
SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine": {"schedule": "cosine", "lr_min": 0.01},
    "linear": {"schedule": "linear", "lr_min": 0.01},
    "exponential": {"schedule": "exponential", "lr_factor": 0.5},
    "warm": {"schedule": "linear", "warmup_epochs": 2},
}


def rates(epochs: int, **values: Any) -> list[float]:
    settings = EvaluationSettings.model_validate({"epochs": epochs, **values})
    return [learning_rate(settings, epoch) for epoch in range(epochs)]


def test_cosine_falls_from_lr_to_lr_min() -> None:
    found = rates(4, lr=0.1, lr_min=0.02)
    half = math.sqrt(0.5)
    assert found == pytest.approx([0.1, 0.02 + 0.04 * (1 + half), 0.06, 0.02 + 0.04 * (1 - half)])


def test_cosine_matches_torch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.025)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    expected = []
    for _ in range(600):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(600) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_linear_falls_by_equal_steps() -> None:
    assert rates(5, schedule="linear", lr=0.5) == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])
    assert rates(4, schedule="linear", lr=0.5, lr_min=0.1) == pytest.approx([0.5, 0.4, 0.3, 0.2])


def test_exponential_is_the_papers_imagenet_decay() -> None:
    found = rates(250, schedule="exponential", lr=0.1, lr_factor=0.97)
    assert found[:3] == pytest.approx([0.1, 0.097, 0.09409])
    assert found[249] == pytest.approx(5.08e-5, rel=1e-3)


def test_warm_up_rises_to_lr_and_the_schedule_goes_on_at_its_epoch() -> None:
    found = rates(250, schedule="linear", lr=0.5, warmup_epochs=5)
    assert found[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found[5:7] == pytest.approx([0.49, 0.488])


def job(**values: Any) -> Evaluation:
    network = {"channels": 2, "layers": 3, "auxiliary_weight": 0}
    plain = {"epochs": 3, "batch_size": 16, "lr": 0.1, "drop_path": 0.1, "network": network, **values}
    splits = load_splits(DataSettings(limit=40, validation_fraction=0.2))
    return Evaluation(EvaluationSettings.model_validate(plain), GENOTYPE, splits, 0)


def row(evaluation: Evaluation) -> dict[str, Any]:
    return {key: value for key, value in evaluation.run_epoch().items() if key not in ("seconds", "memory_mb")}


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_training_uses_it_and_a_resumed_one_goes_on_to_the_last_bit(name: str) -> None:
    straight, first = job(**SCHEDULES[name]), job(**SCHEDULES[name])
    expected = [row(straight) for _ in range(3)]
    assert [each["lr"] for each in expected] == rates(3, lr=0.1, **SCHEDULES[name])
    found = [row(first)]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = job(**SCHEDULES[name])
    second.load_state_dict(torch.load(file, weights_only=True))
    assert [*found, row(second), row(second)] == expected


def test_each_schedule_changes_the_training() -> None:
    losses = set()
    for values in SCHEDULES.values():
        evaluation = job(**values)
        losses.add([row(evaluation) for _ in range(3)][-1]["train_loss"])
    assert len(losses) == len(SCHEDULES)


BAD = {
    "unknown": ("schedule: step", "evaluate.training.schedule", ["'cosine', 'linear' or 'exponential'", "'step'"]),
    "no factor": ("schedule: exponential", "evaluate.training", ["needs lr_factor", "0.97"]),
    "idle factor": ("lr_factor: 0.97", "evaluate.training.lr_factor", ["no effect under schedule cosine", "null"]),
    "growing factor": (
        "schedule: exponential\n    lr_factor: 1.5",
        "evaluate.training.lr_factor",
        ["at most 1", "got 1.5"],
    ),
    "idle floor": (
        "schedule: exponential\n    lr_factor: 0.97\n    lr_min: 0.001",
        "evaluate.training.lr_min",
        ["no effect under schedule exponential"],
    ),
    "floor above lr": ("lr: 0.1\n    lr_min: 0.2", "evaluate.training.lr_min", ["at most lr (0.1)", "0.2"]),
    "endless warm-up": (
        "epochs: 5\n    warmup_epochs: 5",
        "evaluate.training.warmup_epochs",
        ["fewer than epochs (5)"],
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_settings_without_effect_are_refused_when_the_spec_is_read(name: str, tmp_path: Path) -> None:
    text, path, parts = BAD[name]
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"evaluate:\n  training:\n    {text}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(spec)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert all(part in problem.message for part in parts), problem.message
    lines = spec.read_text().splitlines()
    assert path.rsplit(".", 1)[-1] in lines[problem.line - 1]
