"""Each published defect does on a network what it says, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.config.loader import effective_key
from raydarts.registry import Choose
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Batch
from tests.commands import run_here
from tests.contract.remedies import recurrent
from tests.unit.search.regularizers.tiny_search import tiny_search

pytestmark = pytest.mark.usefixtures("one_thread")


def ready(job: Search) -> tuple[Search, Batch, Batch]:
    job.run_epoch()
    job.supernet.train()
    weight_batch, draw = next(job.loop.batches())
    return job, weight_batch, draw()


def estimated(job: Search, weight_batch: Batch, alpha_batch: Batch, **settings: Any) -> Tensor:
    estimator = Choose("estimator").parse({"name": "published_defects", "xi": 0.3, **settings}).build()
    estimate = estimator(job.objective, weight_batch, alpha_batch, job.weight_optimizer)
    return torch.cat([gradient.flatten() for gradient in estimate.gradients])


def statistics(job: Search) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in job.supernet.named_buffers()}


def test_updated_statistics_are_those_of_three_passes_and_change_no_gradient() -> None:
    job, weight_batch, alpha_batch = ready(tiny_search("drop_path", alpha_init=0.5))
    before, dropout = statistics(job), job.streams["dropout"].get_state()
    plain = estimated(job, weight_batch, alpha_batch)
    assert all(torch.equal(value, before[name]) for name, value in statistics(job).items())
    assert torch.equal(estimated(job, weight_batch, alpha_batch, statistics_updated=True), plain)
    after = statistics(job)
    counted = [name for name in before if name.endswith("num_batches_tracked")]
    assert counted
    assert all(after[name] == before[name] + 3 for name in counted)
    means = [name for name in before if name.endswith("running_mean")]
    assert any(not torch.equal(after[name], before[name]) for name in means)
    assert torch.equal(job.streams["dropout"].get_state(), dropout)


def test_a_frozen_embedding_rests_in_the_virtual_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """L_val sees the old token vectors and new weights. The finite difference moves the vectors."""
    job, weight_batch, alpha_batch = ready(recurrent("first_order", {}))
    objective = job.objective
    (position,) = objective.tied
    assert objective.weights[position].shape == (11, 3)  # tokens, units
    w = [weight.detach().clone() for weight in objective.weights]
    seen: dict[str, list[list[bool]]] = {"alpha_loss": [], "weight_loss": []}
    for name, passes in seen.items():

        def recording(batch: Batch, name: str = name, passes: list[list[bool]] = passes) -> Any:
            passes.append([not torch.equal(now, then) for now, then in zip(objective.weights, w, strict=True)])
            return getattr(type(objective), name)(objective, batch)

        monkeypatch.setattr(objective, name, recording)
    plain = estimated(job, weight_batch, alpha_batch)
    assert seen["alpha_loss"].pop() == [True] * len(w)
    seen["weight_loss"].clear()
    frozen = estimated(job, weight_batch, alpha_batch, embedding_frozen=True)
    assert seen["alpha_loss"] == [[n != position for n in range(len(w))]]
    assert [moved[position] for moved in seen["weight_loss"]] == [False, True, True]
    assert not torch.equal(frozen, plain)


def test_a_network_of_images_has_no_shared_token_vectors() -> None:
    assert tiny_search().objective.tied == frozenset()


@pytest.mark.parametrize(
    ("chosen", "same"),
    [
        ({}, {"name": "finite_difference"}),
        ({"epsilon": 0.1, "xi": 0.2}, {"name": "finite_difference", "epsilon": 0.1, "xi": 0.2}),
        ({"xi": 0, "epsilon_multiplied": True}, {"name": "first_order"}),
    ],
)
def test_configurations_without_a_defect_count_as_what_they_are(chosen: dict[str, Any], same: dict[str, Any]) -> None:
    def key(estimator: dict[str, Any]) -> str:
        return effective_key(SearchSettings.model_validate({"estimator": estimator}))

    assert key({"name": "published_defects", **chosen}) == key(same)
    assert key({"name": "published_defects", "epsilon_multiplied": True}) != key({"name": "finite_difference"})


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        ("published_defects", "search.estimator has no defect switched on; write finite_difference"),
        ("{name: published_defects, embedding_frozen: true}", "search.estimator.embedding_frozen is for text"),
    ],
)
def test_a_defect_that_cannot_act_is_told(tmp_path: Path, estimator: str, said: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(f"data: {{limit: 96}}\nsearch: {{epochs: 2, batch_size: 16, estimator: {estimator}}}\n")
    done = run_here("validate", str(path))
    assert done.code == 0, done.err
    assert said in " ".join(done.out.split())
