"""What only a GPU can show. All are skipped without one.

python -m pytest -m gpu tests/gpu
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.evaluation.evaluation import Evaluation
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.float32 import arithmetic, state
from raydarts.runs.identity import differences
from raydarts.search.model import copied
from raydarts.search.moments import Step
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings
from raydarts.spaces import Genotype
from raydarts.tasks import Batch
from tests.unit.evaluation.test_parallel import GENOTYPE, NOISY, TRAINING

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
DATA = {"limit": 96}
SEARCH: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 16,
    "lr": 0.1,
    "arch_lr": 0.05,
    "alpha_init": 0.5,
    "precision": "float64",
    "space": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
}
BENCHMARK = {"name": "nasbench201", "channels": 4, "cells_per_stage": 1}
"""A space without max pools, whose backward pass on a GPU may add in any order."""


def search(device: str = "cuda", **changes: Any) -> Search:
    return Search(SearchSettings.model_validate(SEARCH | changes), load_splits(DataSettings(**DATA)), device)


def evaluation(device: str = "cuda", genotype: dict[str, Any] = GENOTYPE, **changes: Any) -> Evaluation:
    settings = EvaluationSettings.model_validate(TRAINING | changes)
    data = DataSettings.model_validate({"limit": 60, "validation_fraction": 0.3})
    return Evaluation(settings, Genotype.from_json(genotype), load_splits(data), 0, device)


def on(device: str, batch: Batch) -> Batch:
    return batch._replace(inputs=batch.inputs.to(device), targets=batch.targets.to(device))


def close(one: list[Tensor], other: list[Tensor], tolerance: float) -> None:
    """By the norm of all together: single entries may be next to 0."""
    first, second = (torch.cat([tensor.detach().double().cpu().flatten() for tensor in each]) for each in (one, other))
    assert float(second.norm()) > 0
    assert float((first - second).norm() / second.norm()) < tolerance


@pytest.mark.parametrize("estimator", ["first_order", {"name": "finite_difference", "epsilon": 1e-7}, "exact_hvp"])
def test_a_step_on_the_gpu_is_the_step_on_the_cpu(estimator: Any) -> None:
    """Batches are the CPU's: a GPU's generator draws others."""
    here, there = search("cpu", estimator=estimator), search(estimator=estimator)
    there.supernet.load_state_dict(here.supernet.state_dict())
    with torch.no_grad():
        for name, alpha in here.alphas.items():
            there.alphas[name].copy_(alpha)
    weight_batch, draw = next(here.loop.batches())
    alpha_batch = draw()
    found = []
    for job, device in ((here, "cpu"), (there, "cuda")):
        job.supernet.train()
        step = Step(job.objective, on(device, weight_batch), partial(on, device, alpha_batch))
        with arithmetic(tf32=False):
            job.architect.gradient(step)
            alphas = [alpha.grad.clone() for alpha in job.objective.alphas]  # type: ignore[union-attr]
            job.loop.weight_gradient(job.model, step)
        found.append((alphas, [weight.grad for weight in job.supernet.parameters()]))
    (alphas, weights), (other_alphas, other_weights) = found
    close(other_alphas, alphas, 1e-6)
    close(other_weights, weights, 1e-9)  # type: ignore[arg-type]


def test_a_retraining_step_on_the_gpu_is_that_on_the_cpu() -> None:
    here, there = evaluation("cpu"), evaluation()
    there.network.load_state_dict(here.network.state_dict())
    batch = next(here.parts["search"].epoch(12, here.streams["order"], here.streams["augment"]))
    found = []
    for job, device in ((here, "cpu"), (there, "cuda")):
        job.network.train()
        with arithmetic(tf32=False):
            moved = on(device, batch)
            logits, auxiliary = job.runner(job.acceleration.inputs(moved.inputs))
            loss = job._cross_entropy(logits, moved.targets) + job._cross_entropy(auxiliary, moved.targets)
            job.acceleration.backward(loss, job.optimizer)
        found.append([logits, auxiliary, *(parameter.grad for parameter in job.network.parameters())])
    close(found[1], found[0], 1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"estimator": "finite_difference", "regularizers": ["drop_path"]},
        {"relaxation": "gumbel", "estimator": "first_order", "precision": "float32"},
        {"relaxation": "dirichlet", "estimator": "exact_hvp"},
    ],
)
def test_a_search_killed_and_resumed_on_the_gpu_ends_bit_identical(changes: dict[str, Any]) -> None:
    whole, first, resumed = (search(space=BENCHMARK, **changes) for _ in range(3))
    first.run_epoch()
    resumed.load_state_dict(copied(first.state_dict()))
    for job in (whole, resumed):
        while not job.finished:
            job.run_epoch()
    assert whole.epoch == resumed.epoch == 3
    one, other = ({k: v for k, v in job.state_dict().items() if k != "metrics"} for job in (whole, resumed))
    assert not list(differences(one, other))


@pytest.mark.parametrize("changes", [{}, {"genotype": NOISY}, {"precision": "float32", "amp": "bfloat16"}])
def test_a_retraining_killed_and_resumed_on_the_gpu_ends_bit_identical(changes: dict[str, Any]) -> None:
    whole, first, resumed = (evaluation(**changes) for _ in range(3))
    first.run_epoch()
    resumed.load_state_dict(copied(first.state_dict()))
    for job in (whole, resumed):
        while not job.finished:
            job.run_epoch()
    for part in ("network", "optimizer", "streams"):
        assert not list(differences(whole.state_dict()[part], resumed.state_dict()[part]))


def test_compile_on_the_gpu_computes_and_draws_the_same_in_one_graph(caplog: pytest.LogCaptureFixture) -> None:
    """Float32: Triton's float64 is slow. Drop-path acts from the second epoch on."""
    plain, compiled = (evaluation(genotype=NOISY, precision="float32", compile=compile) for compile in (False, True))
    for _ in range(2):
        rows = [job.run_epoch() for job in (plain, compiled)]
        assert rows[1]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=1e-2)
    assert not [record for record in caplog.records if record.name == "raydarts"]
    assert not list(differences(plain.state_dict()["streams"], compiled.state_dict()["streams"]))


def test_tf32_is_off_in_a_search_and_on_where_it_is_asked_for() -> None:
    for asked in (False, True):
        job = search(precision="float32", tf32=asked, epochs=1)
        seen: list[dict[str, bool]] = []
        job.supernet.register_forward_pre_hook(lambda _module, _inputs, seen=seen: seen.append(state()))
        job.run_epoch()
        assert seen
        assert all(found == {"matmul": asked, "conv": asked} for found in seen)


def test_a_mixed_search_computes_in_bfloat16_and_keeps_float32() -> None:
    mixed = {"precision": "float32", "amp": "bfloat16", "estimator": "first_order", "space": BENCHMARK}
    one, again, exact = search(**mixed), search(**mixed), search(**{**mixed, "amp": "off"})
    types = set()
    stem = next(module for module in one.supernet.modules() if isinstance(module, torch.nn.Conv2d))
    stem.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    rows = [each.run_epoch() for each in (one, again, exact)]
    assert types == {torch.bfloat16, torch.float32}  # what is measured is exact
    assert {weight.dtype for weight in one.supernet.parameters()} == {torch.float32}
    assert rows[0]["weight_loss"] == rows[1]["weight_loss"] != rows[2]["weight_loss"]
    assert rows[0]["weight_loss"] == pytest.approx(rows[2]["weight_loss"], rel=0.1)


@pytest.mark.parametrize("what", ["matmul", "conv"])
def test_the_flag_does_what_it_says(what: str) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    generator = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(512, 512, device="cuda", generator=generator)
    y = torch.randn(512, 512, device="cuda", generator=generator)

    def product(a: Tensor, b: Tensor) -> Tensor:
        if what == "matmul":
            return a @ b
        return torch.conv2d(a.view(8, 64, 512, 1).contiguous(), b.view(512, 512)[:, :64, None, None].contiguous())

    exact = product(x.double(), y.double())
    errors = []
    for allowed in (False, True):
        with arithmetic(tf32=allowed):
            errors.append(float((product(x, y) - exact).norm() / exact.norm()))
    assert errors[0] < 1e-5
    assert errors[1] > 1e-4


def test_the_peak_of_the_gpus_memory_is_in_each_row() -> None:
    assert 0 < search(epochs=1).run_epoch()["memory_mb"] < 2**20
