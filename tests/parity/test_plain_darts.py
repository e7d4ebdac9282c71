"""raydarts against the plain DARTS of `plain_darts`: three steps of each estimator give the same w and alpha."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import split
from raydarts.search.moments import Step
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

sys.path.insert(0, str(Path(__file__).parent))
import plain_darts

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 3
TOLERANCE = 1e-10
# The weights of the plain model's candidates, as the supernet names them; SEP3 is column 4 of alpha, and so on.
PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
              "dil_conv_3x3", "dil_conv_5x5")  # fmt: skip


def search(estimator: str, size: int, colours: int, seed: int = 0, **more: Any) -> Search:
    draws = np.random.default_rng(seed)
    images = draws.integers(0, 256, (64, size, size, colours), dtype=np.uint8)
    labels = draws.integers(0, 4, 64)
    arrays = ImageArrays.of("random", images, labels, images[:8], labels[:8], 4)
    plain = {
        "seed": seed,
        "batch_size": 4,
        "arch_lr": 0.01,
        "alpha_init": 0.3,
        "precision": "float64",
        "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
        "estimator": estimator,
        **more,
    }
    return Search(SearchSettings.model_validate(plain), split(arrays, DataSettings(validation_fraction=0)))


def pairs(job: Search, model: plain_darts.Supernet) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """(ours, plain) parameter by parameter, each met exactly once."""
    modules = [(job.supernet.stem, model.stem), (job.supernet.classifier, model.classifier)]
    for cell, plain in zip(job.supernet.cells, model.cells, strict=True):
        modules += [(cell.preprocess0, plain.pre0), (cell.preprocess1, plain.pre1)]
        for index, (edge, operations) in enumerate(zip(cell.edges, plain.edges, strict=True)):
            for primitive, operation in zip(PRIMITIVES, operations, strict=True):
                if list(operation.parameters()):
                    places = (f"edge{index}-{primitive}", f"from{edge.src}-{primitive}")
                    (ours,) = [cell.operations[key] for key in places if key in cell.operations]
                    modules.append((ours, operation))
    found = [both for one, other in modules for both in zip(one.parameters(), other.parameters(), strict=True)]
    for side, whole in ((0, job.supernet), (1, model)):
        assert len({id(both[side]) for both in found}) == len(found) == len(list(whole.parameters()))
    return found


def after(estimator: str, size: int, colours: int, **plain: Any) -> tuple[float, float]:
    """Largest difference of w and of alpha after three steps from the same start on the same batches."""
    job = search(estimator, size, colours)
    model = plain_darts.Supernet(4, 3, 2, classes=4, colours=colours).double()
    matched = pairs(job, model)
    with torch.no_grad():
        for ours, theirs in matched:
            theirs.copy_(ours)
    start = [alpha.detach().clone() for alpha in job.alphas.values()]
    alphas = [alpha.clone().requires_grad_() for alpha in start]
    darts = plain_darts.Darts(model, alphas, estimator, arch_lr=0.01, **plain)
    job.supernet.train()
    for _, drawn in zip(range(STEPS), job.loop.batches(), strict=False):
        step = Step(job.objective, *drawn)
        batches = [(batch.inputs.contiguous(), batch.targets) for batch in (step.weight_batch, step.alpha_batch)]
        darts.step(*batches)
        loss = job.architect.gradient(step)
        assert bool(torch.isfinite(loss.value))
        job.architect.step()
        job.loop.weight_gradient(job.model, step)
        job.weight_optimizer.step()
    moved = max(float((a - b).abs().max().detach()) for a, b in zip(job.alphas.values(), start, strict=True))
    assert moved > 1e-3  # the comparison is of steps that were taken
    return _largest(matched), _largest(list(zip(job.alphas.values(), alphas, strict=True)))


def _largest(both: list[tuple[Tensor, Tensor]]) -> float:
    return max(float((one - other).abs().max().detach()) for one, other in both)


@pytest.mark.parametrize(("size", "colours"), [(8, 3), (12, 1)])
@pytest.mark.parametrize("estimator", ["first_order", "finite_difference", "exact_hvp"])
def test_three_steps_match_plain_darts(estimator: str, size: int, colours: int) -> None:
    w, alpha = after(estimator, size, colours)
    assert w < TOLERANCE
    assert alpha < TOLERANCE


@pytest.mark.parametrize("wrong", [{"divide": False}, {"buffer_in_virtual_step": False}, {"decay": 0.0}, {"clip": 0.5}])
def test_known_mistakes_are_detected(wrong: dict[str, Any]) -> None:
    """pt.darts' factor, a virtual step without momentum, no decay, another clip: each is far off."""
    w, alpha = after("finite_difference", 8, 3, **wrong)
    assert max(w, alpha) > 1e3 * TOLERANCE


def test_logits_and_the_papers_parameter_count() -> None:
    job = search("first_order", 8, 3)
    model = plain_darts.Supernet(4, 3, 2, classes=4, colours=3).double()
    with torch.no_grad():
        for ours, theirs in pairs(job, model):
            theirs.copy_(ours)
        inputs = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        ours = job.supernet(inputs, job.objective.arch_weights())
        torch.testing.assert_close(ours, model(inputs, *job.alphas.values()), rtol=0, atol=1e-12)
    with torch.device("meta"):
        assert sum(p.numel() for p in plain_darts.Supernet().parameters()) == 1_930_618
