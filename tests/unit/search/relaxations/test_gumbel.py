"""GDAS' relaxation: one candidate an edge, drawn by its probability, with the gradient of the Gumbel-softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.registry import Choose
from raydarts.search.moments import Moment
from raydarts.spaces.cells import MixedGraph
from raydarts.spaces.primitives import Operation
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")


def gumbel(seed: int = 0, **settings: Any) -> Any:
    relaxation = Choose("relaxation").parse({"name": "gumbel", **settings}).build()
    relaxation.generator = torch.Generator().manual_seed(seed)
    return relaxation


def draws(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    exponential = torch.empty(shape, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed))
    return -exponential.log()


def test_forward_one_hot_backward_the_gumbel_softmax() -> None:
    alpha = torch.randn(14, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    relaxation = gumbel(seed=3, tau_start=2.0)
    found = relaxation(alpha)
    soft = ((alpha.log_softmax(-1) + draws((14, 8), seed=3)) / 2.0).softmax(-1)
    expected = nn.functional.one_hot(soft.argmax(-1), 8).double()
    assert torch.equal(found, expected)  # exactly 0 and 1
    direction = torch.randn(14, 8, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found * direction).sum(), alpha)
    (by_hand,) = torch.autograd.grad((soft * direction).sum(), alpha)
    torch.testing.assert_close(gradient, by_hand, rtol=1e-12, atol=1e-14)


def test_soft_is_the_gumbel_softmax_itself() -> None:
    alpha = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = gumbel(seed=3, tau_start=2.0, hard=False)(alpha)
    torch.testing.assert_close(found, ((alpha.log_softmax(-1) + draws((5, 4), seed=3)) / 2.0).softmax(-1))
    assert bool((found > 0).all())


@pytest.mark.parametrize("tau", [0.1, 10.0])
def test_each_candidate_is_drawn_with_its_softmax_probability_at_any_temperature(tau: float) -> None:
    alpha = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)
    found = gumbel(tau_start=tau, tau_end=0.1)(alpha.expand(40000, 4)).mean(0)
    torch.testing.assert_close(found, alpha.softmax(-1), rtol=0, atol=0.01)  # 4 standard errors


def test_the_temperature_falls_linearly_from_the_first_epoch_to_the_last() -> None:
    relaxation = gumbel()
    taus = []
    for epoch in (0, 5, 10):
        relaxation.on_epoch_start(Moment(epoch, 11))
        taus.append(relaxation.tau)
    assert taus == pytest.approx([10.0, 5.05, 0.1])
    with pytest.raises(ValueError, match=r"tau_end \(3\) must not be above tau_start \(2\)"):
        gumbel(tau_start=2.0, tau_end=3.0)


def test_expected_is_the_softmax_and_draws_nothing() -> None:
    relaxation, alpha = gumbel(), torch.randn(3, 4)
    state = relaxation.generator.get_state()
    assert torch.equal(relaxation.expected(alpha), alpha.softmax(-1))
    assert torch.equal(relaxation.generator.get_state(), state)
    relaxation(alpha)
    assert not torch.equal(relaxation.generator.get_state(), state)


def supernet(name: str, sparse: bool) -> tuple[nn.Module, Any]:
    plain: dict[str, Any] = {"name": name, "channels": 2}
    plain |= {"cells_per_stage": 1} if name == "nasbench201" else {"layers": 3}
    plain |= {"nodes": 2} if name == "darts-cnn" else {}
    space = Choose("space").parse(plain).build()
    torch.manual_seed(0)
    network = space.supernet(Classification((1, 8, 8), 10)).double()
    for module in network.modules():
        if isinstance(module, MixedGraph):
            module.skips_zeros = sparse
    return network, space


def passed(name: str, sparse: bool, seed: int) -> dict[str, Any]:
    """A training pass with one-hot arch weights: loss, gradients, and how many candidates were called."""
    network, space = supernet(name, sparse)
    alphas = {}
    for cell, spec in space.cells.items():
        alpha = torch.zeros(spec.alpha_shape, dtype=torch.float64)
        alpha[:, 0] = -1.0  # `none` is rare, so that some path is left through a small cell
        alphas[cell] = gumbel(seed)(alpha).requires_grad_()
    calls: list[nn.Module] = []
    for module in network.modules():
        if isinstance(module, Operation):
            module.register_forward_hook(lambda module, *_: calls.append(module))
    inputs = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    loss = nn.functional.cross_entropy(network(inputs, alphas), torch.arange(4))
    weights = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, materialize_grads=True)
    arch = torch.autograd.grad(loss, list(alphas.values()), materialize_grads=True)
    chosen = torch.cat([alpha.detach().flatten() for alpha in alphas.values()])
    return {
        "loss": loss.detach(),
        "weights": weights,
        "arch": torch.cat([part.flatten() for part in arch]),
        "chosen": chosen,
        "calls": len(calls),
    }


@pytest.mark.parametrize("seed", [0, 2, 3])
@pytest.mark.parametrize("name", ["darts-cnn", "nasbench201", "robust_s1"])
def test_the_sparse_pass_is_the_dense_one_without_the_candidates_at_zero(name: str, seed: int) -> None:
    sparse, dense = passed(name, True, seed), passed(name, False, seed)
    torch.testing.assert_close(sparse["loss"], dense["loss"], rtol=1e-12, atol=0)
    for one, other in zip(sparse["weights"], dense["weights"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)
    chosen = sparse["chosen"] == 1
    torch.testing.assert_close(sparse["arch"][chosen], dense["arch"][chosen], rtol=1e-9, atol=1e-14)
    assert bool(sparse["arch"][chosen].any())
    assert not sparse["arch"][~chosen].any()
    assert bool(dense["arch"][~chosen].any())
    assert sparse["calls"] < 0.8 * dense["calls"]


def test_a_sparse_cell_calls_one_candidate_an_edge_and_none_for_none() -> None:
    network, space = supernet("nasbench201", True)
    calls: list[str] = []
    for module in network.modules():
        if isinstance(module, Operation):
            module.register_forward_hook(lambda module, *_: calls.append(type(module).__name__))
    candidates = space.cells["cell"].candidates[0]
    picks = ["none", "nor_conv_3x3", "none", "nor_conv_1x1", "none", "nor_conv_3x3"]
    one_hot = torch.zeros(6, 5, dtype=torch.float64)
    for edge, pick in enumerate(picks):
        one_hot[edge, candidates.index(pick)] = 1.0
    network(torch.randn(2, 1, 8, 8, dtype=torch.float64), {"cell": one_hot})
    assert calls == ["Conv"] * 9  # three cells, three convolutions each
