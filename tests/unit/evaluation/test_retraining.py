"""An evaluation: goes on bit-identically, learns, never looks at test images before its result."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, load_splits
from raydarts.errors import NonFiniteError
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.execution.job import Job
from raydarts.measure import Meter
from raydarts.spaces import Genotype
from raydarts.tasks import Batch

CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 0], ["dil_conv_3x3", 2]]
GENOTYPE = Genotype.from_json(
    {"normal": CELL, "normal_concat": [2, 3], "reduce": CELL, "reduce_concat": [2, 3]},
)
AUGMENT = {"crop_padding": 1, "flip": True, "cutout_length": 2, "cutout_probability": 0.5}
MEASURED = ("seconds", "memory_mb")


pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**values: Any) -> EvaluationSettings:
    network = {"channels": 4, "layers": 3, "auxiliary_weight": 0.4} | values.pop("network", {})
    base = {"epochs": 4, "batch_size": 32, "drop_path": 0.3, "augment": AUGMENT, "network": network}
    return EvaluationSettings.model_validate(base | values)


def splits(**values: Any) -> Splits:
    return load_splits(DataSettings.model_validate({"limit": 150, "validation_fraction": 0.2} | values))


def evaluation(seed: int = 0, data: Splits | None = None, **values: Any) -> Evaluation:
    return Evaluation(settings(**values), GENOTYPE, data or splits(), seed)


class Fixed(nn.Module):
    """A network whose outputs are given."""

    def __init__(self, *outputs: Tensor) -> None:
        super().__init__()
        self.first, self.second = (nn.Parameter(values) for values in outputs)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.first, self.second)


def exact(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if key not in MEASURED}


def same(first: Any, second: Any) -> bool:
    """Equal to the last bit, whatever the nesting."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def test_resume_after_two_epochs_is_bit_identical() -> None:
    straight, first = evaluation(), evaluation()
    expected = [exact(straight.run_epoch()) for _ in range(4)]
    found = [exact(first.run_epoch()) for _ in range(2)]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    torch.rand(7)  # another job has used the process in between
    second = evaluation()
    second.load_state_dict(torch.load(file, weights_only=True))
    assert (second.epoch, exact(second.metrics)) == (2, found[-1])
    found += [exact(second.run_epoch()) for _ in range(2)]
    assert found == expected
    states = [{**job.state_dict(), "metrics": None, "torch_rng": None} for job in (straight, second)]
    assert same(*states)
    assert exact(second.result()) == exact(straight.result())
    assert second.finished


def test_only_the_seed_decides_the_result() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluation(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, other = evaluation(seed=5), evaluation(seed=6)
    metrics = [exact(job.run_epoch()) for job in (first, second, other)]
    assert metrics[0] == metrics[1]
    assert metrics[0]["train_loss"] != metrics[2]["train_loss"]


def test_learns_and_reports_plain_metrics() -> None:
    job: Job = evaluation(
        data=splits(limit=None), epochs=3, drop_path=0.0, augment={}, lr=0.1, network={"auxiliary_weight": 0.0}
    )
    metrics = [job.run_epoch() for _ in range(3)]
    assert [each["epoch"] for each in metrics] == [1, 2, 3]
    assert metrics[-1]["train_loss"] < 0.7 * metrics[0]["train_loss"]
    assert metrics[-1]["validation_accuracy"] > 0.5
    assert all(0 <= each[key] <= 1 for each in metrics for key in ("train_accuracy", "validation_accuracy"))
    assert all(type(value) in (int, float) for value in metrics[0].values())
    assert metrics[0]["memory_mb"] > 0
    assert metrics[0]["seconds"] > 0
    result = job.result()
    assert result["test_accuracy"] > 0.5
    assert metrics[-1].items() <= result.items()


def test_lr_is_a_cosine_and_drop_path_a_ramp_from_zero() -> None:
    job = evaluation(lr=0.1, lr_min=0.02, drop_path=0.4, augment={})
    metrics = [job.run_epoch() for _ in range(4)]
    cosine = [0.02 + 0.08 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert [each["lr"] for each in metrics] == pytest.approx(cosine)
    assert [each["drop_path"] for each in metrics] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_measuring_changes_nothing_and_drops_no_paths() -> None:
    job = evaluation(drop_path=0.9)
    for _ in range(2):
        job.run_epoch()
    before = job.state_dict()
    before["network"] = {name: value.clone() for name, value in before["network"].items()}
    first, second = job.result(), job.result()
    assert first == second
    assert same(before["network"], job.state_dict()["network"])
    assert same(before["streams"], job.state_dict()["streams"])


def test_nothing_held_out_gives_no_validation_figures() -> None:
    job = evaluation(data=splits(validation_fraction=0.0))
    metrics = job.run_epoch()
    assert metrics["validation_loss"] is None
    assert metrics["validation_accuracy"] is None
    assert metrics["train_loss"] is not None


def test_test_images_decide_nothing() -> None:
    data = splits()
    arrays = data.arrays
    fields = {name: getattr(arrays, name) for name in ImageArrays.__dataclass_fields__}
    noise = np.random.default_rng(0).integers(0, 256, arrays.test_images.shape, dtype=np.uint8)
    other = Splits(ImageArrays(**{**fields, "test_images": noise}), data.weight, data.alpha, data.validation)
    jobs = [evaluation(data=each) for each in (data, other)]
    metrics = [[exact(job.run_epoch()) for _ in range(2)] for job in jobs]
    assert metrics[0] == metrics[1]
    assert not any(key.startswith("test") for key in metrics[0][0])
    results = [job.result() for job in jobs]
    assert results[0]["test_loss"] != results[1]["test_loss"]


def test_retraining_uses_both_halves_of_the_search_part_and_no_held_out_image() -> None:
    data = splits()
    arrays = data.arrays
    fields = {name: getattr(arrays, name) for name in ImageArrays.__dataclass_fields__}

    def inverted(part: Any) -> Splits:
        images = arrays.train_images.copy()
        images[part] = 240 - images[part]
        return Splits(ImageArrays(**{**fields, "train_images": images}), data.weight, data.alpha, data.validation)

    def trained(each: Splits) -> float:
        loss: float = evaluation(data=each, epochs=1).run_epoch()["train_loss"]
        return loss

    expected = trained(data)
    assert trained(inverted(data.validation)) == expected
    assert trained(inverted(data.weight)) != expected
    assert trained(inverted(data.alpha)) != expected


@pytest.mark.parametrize(
    "change", [{"label_smoothing": 0.2}, {"network": {"auxiliary_weight": 0.8}}, {"grad_clip": 0.01}, {"momentum": 0.0}]
)
def test_each_setting_changes_the_training(change: dict[str, Any]) -> None:
    plain, changed = (evaluation(**values).run_epoch() for values in ({}, change))
    assert plain["train_loss"] != changed["train_loss"]


def test_the_loss_is_cross_entropy_plus_the_weighted_auxiliary_one() -> None:
    job = evaluation(label_smoothing=0.1)
    logits, auxiliary = torch.randn(2, 6, 10)
    targets = torch.arange(6)
    job.network = job.runner = Fixed(logits, auxiliary)
    meter = Meter()
    job._step(Batch(torch.zeros(6, 1, 8, 8), targets), 0, meter)
    log = [values.log_softmax(1) for values in (logits, auxiliary)]
    losses = [-(0.9 * each[range(6), targets] + 0.1 * each.mean(1)).mean() for each in log]
    assert meter.loss == pytest.approx(float(losses[0] + 0.4 * losses[1]), rel=1e-5)


def test_parameters_are_counted_without_the_auxiliary_head() -> None:
    counts = []
    for weight in (0.0, 0.4):
        job = evaluation(epochs=1, network={"auxiliary_weight": weight})
        counts.append(job.result()["parameters"])
    assert counts[0] == counts[1] > 0


def test_a_loss_that_is_not_finite_stops_before_the_step() -> None:
    job = evaluation()
    job.run_epoch()
    with torch.no_grad():
        next(iter(job.network.parameters())).fill_(float("nan"))
    before = [parameter.clone() for parameter in job.network.parameters()]
    with pytest.raises(NonFiniteError, match=r"epoch 2, batch 0.*evaluate\.training\.lr"):
        job.run_epoch()
    after = job.network.parameters()
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, after, strict=True))
    assert job.epoch == 1


def test_double_precision_and_channels_last() -> None:
    job = evaluation(precision="float64")
    job.run_epoch()
    parameters = list(job.network.parameters())
    assert {parameter.dtype for parameter in parameters} == {torch.float64}
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in parameters if p.ndim == 4)
