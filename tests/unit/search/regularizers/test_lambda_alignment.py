"""Lambda-DARTS: Lambda by hand, its gradient by double backward, its schedule, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.errors import InputError
from raydarts.registry import Choose
from raydarts.search.moments import Moment, Step
from raydarts.search.regularizers.lambda_alignment import LambdaAlignment, correlation, sign_correlation
from raydarts.search.relaxations.base import Relaxation
from raydarts.search.search import Search
from raydarts.search.settings import SearchSettings

BENCHMARK = {"name": "nasbench201", "channels": 2, "cells_per_stage": 1}
TINY = {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}

pytestmark = pytest.mark.usefixtures("one_thread")


class Noisy(Relaxation):
    """A softmax of alpha and noise."""

    NAME = "noisy"
    RANDOM = True

    def __call__(self, alpha: Tensor) -> Tensor:
        return (alpha + torch.empty_like(alpha).normal_(generator=self.generator)).softmax(-1)

    def expected(self, alpha: Tensor) -> Tensor:
        return alpha.softmax(-1)


def search(alignment: dict[str, Any] | None, **changes: Any) -> Search:
    plain = {
        "epochs": 2,
        "batch_size": 16,
        "grad_clip": 0,
        "alpha_init": 0.5,
        "precision": "float64",
        "space": BENCHMARK,
        "estimator": "first_order",
        "regularizers": [] if alignment is None else [{"name": "lambda_alignment", **alignment}],
        **changes,
    }
    return Search(SearchSettings.model_validate(plain), load_splits(DataSettings(limit=32)))


def ready(alignment: dict[str, Any] | None, **changes: Any) -> tuple[Search, Step]:
    """A search in its last epoch, with its first step."""
    job = search(alignment, **changes)
    for regularizer in job.regularizers:
        regularizer.on_epoch_start(Moment(1, 2))
    job.supernet.train()
    return job, Step(job.objective, *next(job.loop.batches()))


def remedy(job: Search) -> LambdaAlignment:
    (found,) = job.regularizers
    assert isinstance(found, LambdaAlignment)
    return found


def term(job: Search, step: Step) -> list[Tensor]:
    """What the remedy adds to the weights' gradient."""
    found = remedy(job).weight_gradient(list(job.supernet.parameters()), step)
    assert found is not None
    return list(found)


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def pairs(vectors: list[Tensor], measure: str) -> Tensor:
    """Lambda, pair by pair."""
    values = []
    for number, one in enumerate(vectors):
        for other in vectors[number + 1 :]:
            size = one.norm() * other.norm() if measure == "cosine" else one.abs() @ other.abs()
            values.append(one @ other / size)
    return torch.stack(values).mean()


def by_double_backward(job: Search, step: Step, layers: Mapping[str, int], measure: str = "cosine") -> Tensor:
    """dLambda/dw by automatic differentiation through the gradients g_k; one leaf for each layer."""
    with torch.no_grad():
        arch_weights: dict[str, Any] = {name: alpha.softmax(-1) for name, alpha in job.alphas.items()}
    leaves = {
        name: [arch_weights[name].clone().requires_grad_() for _ in range(count)] for name, count in layers.items()
    }
    for name, of_layers in leaves.items():
        arch_weights[name] = torch.stack(of_layers)
    with job.objective.virtual():
        logits = job.supernet(step.weight_batch.inputs, arch_weights)
        loss = torch.nn.functional.cross_entropy(logits, step.weight_batch.targets)
        value = torch.zeros((), dtype=torch.float64)
        for of_layers in leaves.values():
            gradients = torch.autograd.grad(loss, of_layers, create_graph=True)
            value = value + pairs([gradient.flatten() for gradient in gradients], measure)
        return flat(torch.autograd.grad(value, list(job.supernet.parameters()), materialize_grads=True))


def test_lambda_matches_hand_computation() -> None:
    gradients = torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 1.0], [0.0, 0.0]], [[-1.0, 0.0], [1.0, 1.0]]])
    # (3,0,0,4) . (-1,0,1,1) = 1, norms 5 and sqrt 3, sizes 3 + 4; the second is orthogonal to both
    assert float(correlation(gradients)) == pytest.approx(1 / (5 * 3**0.5) / 3)
    assert float(sign_correlation(gradients)) == pytest.approx(1 / 7 / 3)
    same = torch.ones(4, 2, 2)
    assert float(correlation(same)) == pytest.approx(1)
    assert float(sign_correlation(torch.cat([same, -same]))) == pytest.approx(-4 / 28)


@pytest.mark.parametrize(
    ("space", "layers", "settings"),
    [
        (BENCHMARK, {"cell": 3}, {}),
        (BENCHMARK, {"cell": 3}, {"measure": "sign"}),
        (TINY, {"reduce": 2}, {"reduction": True}),
        ({**TINY, "layers": 5}, {"normal": 3}, {}),
        ({**TINY, "layers": 5}, {"normal": 3, "reduce": 2}, {"reduction": True}),
    ],
    ids=["nasbench201", "sign", "reduction cells alone", "normal cells alone", "both"],
)
def test_the_term_is_minus_strength_times_lambdas_gradient(
    space: dict[str, Any], layers: dict[str, int], settings: dict[str, Any]
) -> None:
    job, step = ready({"strength": 0.5, "epsilon": 1e-7, **settings}, space=space)
    exact = by_double_backward(job, step, layers, settings.get("measure", "cosine"))
    found = flat(term(job, step))
    assert exact.norm() > 1e-3
    assert (found + 0.5 * exact).norm() < 1e-5 * exact.norm()


def test_a_step_along_the_term_raises_lambda() -> None:
    job, step = ready({"strength": 1.0})

    def value() -> float:
        arch_weights = {"cell": torch.stack([job.alphas["cell"].detach().softmax(-1)] * 3).requires_grad_()}
        with job.objective.virtual():
            loss = job.objective.data_loss(step.weight_batch, arch_weights).value
        (gradients,) = torch.autograd.grad(loss, arch_weights["cell"])
        return float(correlation(gradients))

    before, gradients = value(), term(job, step)
    with torch.no_grad():
        torch._foreach_sub_(list(job.supernet.parameters()), gradients, alpha=1e-7)
    assert value() - before == pytest.approx(1e-7 * float(flat(gradients).square().sum()), rel=0.05)


def test_the_strength_rises_linearly_over_the_epochs() -> None:
    job, step = ready({})
    last = flat(term(job, step))
    halfway, first = Moment(25, 51), Moment(0, 51)
    remedy(job).on_epoch_start(halfway)
    torch.testing.assert_close(flat(term(job, step)), 0.5 * last, rtol=1e-12, atol=0)
    remedy(job).on_epoch_start(first)
    assert remedy(job).weight_gradient(list(job.supernet.parameters()), step) is None
    settings = job.regularizers[0].settings
    assert (settings.strength, settings.epsilon, settings.reduction) == (0.125, 1e-4, False)


def test_epsilon_is_the_length_of_the_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    job, step = ready({"epsilon": 0.01})
    shown = []
    right = job.objective.data_loss

    def watched(batch: Any, arch_weights: Mapping[str, Tensor]) -> Any:
        shown.append(arch_weights["cell"].detach().clone())
        return right(batch, arch_weights)

    monkeypatch.setattr(job.objective, "data_loss", watched)
    term(job, step)
    centre, plus, minus = shown
    assert centre.shape == (3, 6, 5)
    assert float((plus - centre).norm()) == pytest.approx(0.01)
    torch.testing.assert_close(centre - minus, plus - centre, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("relaxation", ["softmax", f"{__name__}:Noisy"])
def test_passes_share_draws_and_change_nothing(relaxation: str) -> None:
    def stepped(epsilon: float | None) -> Search:
        regularizers: list[Any] = [{"name": "drop_path", "probability": 0.5}]
        if epsilon is not None:
            regularizers.append({"name": "lambda_alignment", "epsilon": epsilon})
        job, step = ready(None, regularizers=regularizers, relaxation=relaxation)
        job.loop.weight_gradient(job.model, step)
        return job

    plain, coarse, fine = (stepped(epsilon) for epsilon in (None, 1e-4, 1e-6))
    state, other = plain.supernet.state_dict(), fine.supernet.state_dict()
    assert all(torch.equal(state[key], other[key]) for key in state)
    for stream in ("dropout", "relaxation"):
        assert torch.equal(plain.streams[stream].get_state(), fine.streams[stream].get_state())
    gradients = [flat(weight.grad for weight in job.supernet.parameters()) for job in (plain, coarse, fine)]
    # under unlike masks or draws the difference of two passes would not shrink with epsilon, by which it is divided
    terms = [float((gradient - gradients[0]).norm()) for gradient in gradients[1:]]
    assert 0 < terms[1] < 2 * terms[0]


def test_changes_only_the_weights_gradient() -> None:
    plain, aligned = (ready(alignment) for alignment in (None, {}))
    for job, step in (plain, aligned):
        job.architect.gradient(step)
    assert torch.equal(*(flat(alpha.grad for alpha in job.alphas.values()) for job, _ in (plain, aligned)))


def test_spaces_without_two_layers_of_a_type_are_refused() -> None:
    one = Choose("regularizer").parse("lambda_alignment").build()
    small, large = (Choose("space").parse({**TINY, "layers": layers}).build() for layers in (3, 4))
    with pytest.raises(InputError, match=r"1 of type normal, 2 of type reduce.*reduction: true"):
        one.check(small, 50)
    one.check(large, 50)
    one.check(Choose("space").parse("nasbench201").build(), 50)
    Choose("regularizer").parse({"name": "lambda_alignment", "reduction": True}).build().check(small, 50)
    Choose("regularizer").parse({"name": "lambda_alignment", "strength": 0}).build().check(small, 50)


def test_layers_that_agree_or_have_no_gradient_give_no_direction() -> None:
    job, _ = ready({})
    gradients = torch.rand(3, 6, 5, dtype=torch.float64)
    gradients[1] = 0
    delta = remedy(job)._direction(gradients)
    assert not delta[1].any()
    two = remedy(job)._direction(gradients[[0, 2]])
    assert torch.equal(delta[[0, 2]], two)
    gradients[2] = 0
    assert not remedy(job)._direction(gradients).any()
