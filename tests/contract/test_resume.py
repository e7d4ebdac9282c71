"""A job goes on from a checkpoint in a new object to the same last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from remedies import ESTIMATORS, recurrent

from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits, load_splits
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.registry import members
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype

MEASURED = ("seconds", "memory_mb")
AUGMENT = {"crop_padding": 1, "flip": True, "cutout_length": 3, "cutout_probability": 0.7}
CELL = [["sep_conv_3x3", 0], ["skip_connect", 1], ["max_pool_3x3", 0], ["dil_conv_3x3", 2]]


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def splits() -> Splits:
    return load_splits(DataSettings(limit=64))


def search(estimator: str, precision: str = "float64") -> Search:
    plain = {
        "epochs": 3,
        "batch_size": 16,
        "arch_lr": 0.05,
        "precision": precision,
        "augment": AUGMENT,
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "estimator": estimator,
        "regularizers": [{"name": "drop_path", "probability": 0.4}, "beta_decay", "weight_l2"],
    }
    return Search(SearchSettings.model_validate(plain), splits())


def evaluation() -> Evaluation:
    plain = {
        "epochs": 3,
        "batch_size": 16,
        "drop_path": 0.4,
        "precision": "float64",
        "augment": AUGMENT,
        "network": {"channels": 2, "layers": 3},
    }
    genotype = Genotype.from_json(
        {"normal": CELL, "normal_concat": [2, 3], "reduce": CELL, "reduce_concat": [2, 3]},
    )
    return Evaluation(EvaluationSettings.model_validate(plain), genotype, splits(), 1)


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Where two nested states differ, tensors to the last bit; measured figures left out."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [at]
    if isinstance(one, dict):
        found = [] if one.keys() == other.keys() else [at]
        return found + [
            place for key in one if key not in MEASURED for place in differences(one[key], other[key], f"{at}.{key}")
        ]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [at]
        pairs = zip(one, other, strict=True)
        return [place for n, (a, b) in enumerate(pairs) for place in differences(a, b, f"{at}[{n}]")]
    return [] if one == other else [at]


def through_a_file(job: Any, path: Path) -> dict[str, Any]:
    torch.save(job.state_dict(), path)
    return torch.load(path, weights_only=True)


def resumed(make: Any, path: Path) -> tuple[Any, Any]:
    """(three epochs in one object, one and then two in a new one); every epoch's metrics are compared."""
    whole, first, second = make(), make(), make()
    metrics = [whole.run_epoch() for _ in range(3)]
    first.run_epoch()
    state = through_a_file(first, path)
    for _ in range(2):  # what the old object still does has no part in it
        first.run_epoch()
    torch.manual_seed(99)
    second.load_state_dict(state)
    assert second.epoch == 1
    assert differences(metrics[1:], [second.run_epoch(), second.run_epoch()]) == []
    assert second.finished
    return whole, second


@pytest.mark.parametrize(
    ("estimator", "precision"), [*((name, "float32") for name in ESTIMATORS), ("first_order", "float64")]
)
def test_search_resumes_bit_identical(estimator: str, precision: str, tmp_path: Path) -> None:
    whole, second = resumed(lambda: search(estimator, precision), tmp_path / "state.pt")
    one, other = whole.state_dict(), second.state_dict()
    for key in ("supernet", "alpha", "weight_optimizer", "alpha_optimizer", "streams", "genotypes", "schedule"):
        assert differences(one[key], other[key], key) == []
    assert differences(one, other) == []
    assert differences(whole.result(), second.result()) == []
    assert differences(search(estimator, precision).state_dict()["alpha"], one["alpha"]) != []


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_search_on_text_resumes_bit_identical(estimator: str, tmp_path: Path) -> None:
    """Dropout masks and BPTT lengths go on where they were; hidden states begin anew with each epoch."""
    clips = "grad_clip" in members("estimator")[estimator].Settings.model_fields
    chosen = {"name": estimator, "grad_clip": 0.1} if clips else estimator
    whole, second = resumed(lambda: recurrent(chosen, {}, epochs=3), tmp_path / "state.pt")
    assert differences(whole.state_dict(), second.state_dict()) == []
    assert differences(whole.result(), second.result()) == []
    lengths = [
        [
            len(batch.inputs)
            for batch in job.data["weight"].epoch(4, job.streams["weight_order"], job.streams["augment"])
        ]
        for job in (whole, second)
    ]
    assert lengths[0] == lengths[1]
    assert len(set(lengths[0])) > 1


def test_evaluation_resumes_bit_identical(tmp_path: Path) -> None:
    whole, second = resumed(evaluation, tmp_path / "state.pt")
    assert differences(whole.state_dict(), second.state_dict()) == []
    assert differences(whole.result(), second.result()) == []
    assert differences(evaluation().state_dict()["network"], whole.state_dict()["network"]) != []


def test_the_draws_are_part_of_the_state(tmp_path: Path) -> None:
    """Without the streams in the checkpoint the two would part: the tests above can fail."""
    whole, second = search("first_order"), search("first_order")
    whole.run_epoch()
    state = through_a_file(whole, tmp_path / "state.pt")
    second.load_state_dict(state | {"streams": {}})
    whole.run_epoch()
    second.run_epoch()
    assert differences(whole.state_dict()["supernet"], second.state_dict()["supernet"]) != []
