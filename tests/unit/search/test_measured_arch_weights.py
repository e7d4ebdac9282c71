"""The supernet is measured with batch-norm statistics of the arch weights that it is measured with.

Running statistics are gathered by the weight steps. Where those had other arch weights (a draw, a perturbation, what a
selection has decided since), each batch's own statistics are taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raydarts.data.batches import ImageBatches
from raydarts.data.settings import DataSettings, TextSettings
from raydarts.data.splits import load_splits
from raydarts.data.text_batches import TextBatches
from raydarts.registry import members
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.search import Search
from tests.unit.search.regularizers.tiny_search import SPACE, tiny_search

pytestmark = pytest.mark.usefixtures("one_thread")
RANDOM = [name for name, member in members("relaxation").items() if member.RANDOM]  # type: ignore[attr-defined]
PERTURBING = [
    name
    for name, member in members("regularizer").items()
    if member.perturb is not Regularizer.perturb  # type: ignore[attr-defined]
]
OTHERS: dict[str, dict[str, Any]] = {name: {"relaxation": name} for name in RANDOM}
OTHERS |= {name: {"regularizers": [name]} for name in PERTURBING}
OTHERS["gumbel, soft"] = {"relaxation": {"name": "gumbel", "hard": False}}
OTHERS["a decision"] = {
    "epochs": 1,
    "selection": {"name": "perturbation", "tuning_epochs": 1},
    "space": SPACE | {"nodes": 1},
}
SAME: dict[str, dict[str, Any]] = {
    "softmax": {},
    "sigmoid": {"relaxation": "sigmoid"},
    "sdarts at radius 0": {"regularizers": [{"name": "sdarts_rs", "radius": 0, "radius_start": 0}]},
    "edge normalization": {"regularizers": ["edge_normalization"]},
    "second order": {"estimator": "finite_difference"},
}


def search(**changes: Any) -> Search:
    changes = dict(changes)
    return tiny_search(*changes.pop("regularizers", ()), **changes)


def figures(job: Search, *, batch_statistics: bool) -> dict[str, float]:
    """By hand: one batch of all held-out images through the supernet, with the expected arch weights."""
    batch = next(job.data["validation"].sequential(64))
    net, weights = job.supernet, job.model.arch_weights()
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    net.eval()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.train(batch_statistics)
    with torch.no_grad():
        logits = net(batch.inputs, weights)
    net.train()
    net.load_state_dict(kept)
    accuracy = (logits.argmax(1) == batch.targets).double().mean()
    return {
        "validation_loss": float(nn.functional.cross_entropy(logits, batch.targets)),
        "validation_accuracy": float(accuracy),
    }


def measured(job: Search) -> dict[str, float]:
    while not job.finished:
        row = job.run_epoch()
    return {key: row[key] for key in ("validation_loss", "validation_accuracy")}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_arch_weights_are_measured_with_each_batchs_statistics(changes: dict[str, Any]) -> None:
    job = search(**changes)
    before = {name: value.clone() for name, value in job.supernet.state_dict().items() if "running" in name}
    found = measured(job)
    assert found == pytest.approx(figures(job, batch_statistics=True), rel=1e-9)
    assert found != pytest.approx(figures(job, batch_statistics=False), rel=1e-9)
    after = job.supernet.state_dict()
    assert any(not torch.equal(value, after[name]) for name, value in before.items())  # they are gathered all the same
    assert all(module.track_running_stats for module in job.supernet.modules() if isinstance(module, _BatchNorm))


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_the_same_arch_weights_are_measured_with_the_running_statistics(changes: dict[str, Any]) -> None:
    job = search(**changes)
    assert measured(job) == pytest.approx(figures(job, batch_statistics=False), rel=1e-9)


def test_measuring_does_not_change_the_model() -> None:
    job = search(relaxation="gumbel")
    job.run_epoch()
    before = {name: value.clone() for name, value in job.supernet.state_dict().items()}
    draws = {name: generator.get_state() for name, generator in job.streams._generators.items()}
    one, other = (job.measuring.validation(job.model) for _ in range(2))
    assert one == other
    assert all(torch.equal(value, before[name]) for name, value in job.supernet.state_dict().items())
    assert all(torch.equal(state, job.streams[name].get_state()) for name, state in draws.items())
    assert job.supernet.training


def test_no_batch_of_a_few_images_is_left_over() -> None:
    data = ImageBatches(load_splits(DataSettings(limit=100)), "validation", "cpu", torch.float64, None)
    assert len(data) == 10
    assert [len(batch.targets) for batch in data.sequential(data.measured_size(2))] == [8, 2]
    assert [len(batch.targets) for batch in data.sequential(data.batch_statistics_size(2))] == [5, 5]
    assert data.batch_statistics_size(64) == 10
    text = TextBatches("a text", np.arange(90) % 7, "cpu", TextSettings(measured_columns=2))
    assert text.batch_statistics_size(32) is None  # the running ones are kept


def test_the_adversary_of_a_drawn_network_takes_each_batchs_statistics() -> None:
    """Under gumbel the running statistics are those of other draws: nothing could be compared in them."""
    job = search(regularizers=["sdarts_adv"], relaxation="gumbel")
    seen: set[tuple[bool, bool]] = set()

    def note(module: Any, _inputs: Any, _output: Any) -> None:
        seen.add((module.training, module.track_running_stats))

    norm = next(module for module in job.supernet.modules() if isinstance(module, _BatchNorm))
    norm.register_forward_hook(note)
    objective = job.objective
    loss, within = objective.data_loss, []

    def watched(batch: Any, arch_weights: Any) -> Any:
        seen.clear()
        found = loss(batch, arch_weights)
        within.append((torch.is_grad_enabled(), set(seen)))
        return found

    objective.data_loss = watched  # type: ignore[method-assign]
    job.run_epoch()
    assert all(modes <= {(True, False), (True, True)} for _, modes in within)  # never the running statistics


def test_gumbel_accuracy_on_digits_is_above_chance() -> None:
    """With running statistics 0.08 to 0.11 after as many epochs, chance being 0.1."""
    job = search(
        relaxation="gumbel", epochs=5, batch_size=64, precision="float32", arch_lr=3e-4, space=SPACE | {"channels": 4}
    )
    whole = Search(job.settings, load_splits(DataSettings()))
    while not whole.finished:
        row = whole.run_epoch()
    assert row["validation_accuracy"] > 0.2
