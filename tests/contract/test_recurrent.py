"""Every remedy in the recurrent space: it acts there under every estimator and resumes, or says why not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from remedies import (
    ESTIMATORS,
    RECURRENT,
    REGULARIZERS,
    REMEDIES,
    chosen,
    equal,
    finite,
    learned,
    learned_after_a_kill,
    learned_by_epoch,
    recurrent,
    spec,
)
from torch import Tensor

from raydarts.search.composition import refusals
from raydarts.search.moments import Moment, Step
from raydarts.search.settings import SearchSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "quick_eigenvalue")]

# What the contract of other spaces asks for and this one has not, and under what a genotype of two nodes changes.
SETTINGS: dict[str, dict[str, Any]] = {
    "regularizer:progressive": {"layers": None, "candidates": [None, 4]},
    "selection:skip_limit": {"max_skips": 0},
    "selection:perturbation": {"tuning_epochs": 1},
}
REFUSED = {
    "regularizer:partial_channels": "vectors",
    "regularizer:oles": "no weights of their own",
    "regularizer:scheduled_cutout": "images",
    "selection:threshold": "without any",
}
KEYS = [key for key in REMEDIES if key not in REFUSED]


def changes_with(key: str, **settings: Any) -> dict[str, Any]:
    return spec([chosen(key, **{**SETTINGS.get(key, {}), **settings})], [key])


def refused(estimator: str, changes: dict[str, Any]) -> list[Any]:
    return refusals(SearchSettings.model_validate({**RECURRENT, "epochs": 2, "estimator": estimator, **changes}))


@cache
def without(estimator: str, companions: tuple[tuple[str, Any], ...] = ()) -> list[dict[str, Tensor]]:
    """What a search learns without the remedy, after each epoch."""
    return list(learned_by_epoch(recurrent(estimator, dict(companions))))


def companions(changes: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The relaxation that a remedy brought."""
    return tuple((key, value) for key, value in changes.items() if key == "relaxation" and isinstance(value, str))


@pytest.mark.parametrize("key", REFUSED)
def test_a_remedy_that_makes_no_sense_there_says_so_when_the_spec_is_read(key: str) -> None:
    found = refused("first_order", changes_with(key))
    assert any(REFUSED[key] in message for _, message in found), found


def neutral(keys: Sequence[str]) -> dict[str, Any]:
    settings = [{**SETTINGS.get(key, {}), **(REMEDIES[key].NEUTRAL or {})} for key in keys]
    return spec([chosen(key, **each) for key, each in zip(keys, settings, strict=True)], keys)


def test_neutral_remedies_equal_no_remedy_bit_for_bit() -> None:
    """Together they change no bit, so none of them does. Where one does, it is named."""
    groups: list[list[str]] = []
    for key in REGULARIZERS:
        for group in groups:
            same = companions(neutral(group)) == companions(neutral([key]))
            if same and not refused("first_order", neutral([*group, key])):
                group.append(key)
                break
        else:
            groups.append([key])
    assert len(groups) < len(REGULARIZERS) / 3

    def changes_a_bit(keys: Sequence[str]) -> bool:
        changes = neutral(keys)
        return not equal(learned(recurrent("first_order", changes)), without("first_order", companions(changes))[-1])

    for group in groups:
        if changes_a_bit(group):
            guilty = [key for key in group if changes_a_bit([key])]
            pytest.fail(f"not neutral: {', '.join(guilty) or group}")


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("key", KEYS)
def test_a_remedy_changes_what_is_learned(key: str, estimator: str) -> None:
    changes = changes_with(key)
    if any("estimator" in message for _, message in refused(estimator, changes)):
        pytest.skip(f"refuses {estimator}")
    assert refused(estimator, changes) == []
    job = recurrent(estimator, changes)
    for found, plain in zip(learned_by_epoch(job), without(estimator, companions(changes)), strict=False):
        assert finite(found)
        if not equal(found, plain):
            return  # it acts: no later epoch is needed
    if key == "selection:skip_limit" and sum(job.genotype.skips().values()) == 0:
        pytest.skip("the search chose no skip connection, so there is none to limit")
    assert job.result()["stopped_early"]


def test_lambda_alignment_aligns_the_time_steps() -> None:
    """The finite difference against the derivative of the mean cosine, taken through the gradients' own graph."""
    job = recurrent("first_order", changes_with("regularizer:lambda_alignment", strength=1.0, epsilon=1e-5))
    with torch.no_grad():  # 0.04 is too narrow for three units to differ by anything
        for weight in job.supernet.parameters():
            weight.mul_(20)
    job.supernet.train()
    (remedy,) = job.regularizers
    remedy.on_epoch_start(Moment(1, 2))
    step = Step(job.objective, *next(job.loop.batches()))
    found = remedy.weight_gradient(list(job.supernet.parameters()), step)
    assert found is not None
    steps = len(step.weight_batch.inputs)
    leaf = job.objective.arch_weights()["recurrent"].detach().expand(steps, -1, -1).clone().requires_grad_()
    with job.objective.virtual():
        loss = job.objective.data_loss(step.weight_batch, {"recurrent": leaf}).value
        (gradients,) = torch.autograd.grad(loss, leaf, create_graph=True)
        flat = gradients.flatten(1)
        cosines = torch.stack(
            [torch.cosine_similarity(flat[k], flat[j], 0) for k in range(steps) for j in range(k + 1, steps)]
        )
        exact = torch.autograd.grad(-cosines.mean(), list(job.supernet.parameters()), materialize_grads=True)
    largest = max(float(part.abs().max()) for part in exact)
    assert largest > 1e-3
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("key", KEYS)
def test_killed_search_with_a_remedy_resumes_bit_identical(key: str) -> None:
    changes = changes_with(key)
    whole, second = recurrent("first_order", changes), recurrent("first_order", changes)
    found, again = learned_after_a_kill(whole, second)
    assert finite(found)
    assert equal(found, again)
    assert second.epoch == whole.epoch
