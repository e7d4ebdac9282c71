"""Several supernets of one lane, and the same in one supernet: what tests of lanes compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raydarts.registry import Choose
from raydarts.spaces.drawn import draw_from
from raydarts.spaces.lanes import views
from raydarts.spaces.transform import MixedTransform
from raydarts.tasks import Batch, Classification, Task

LANES = 3
TASK = Classification((3, 9, 9), 4)  # odd sides: the shifted half of a factorized reduce is padded
SPACES: dict[str, dict[str, Any]] = {
    "darts-cnn": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
    "robust_s1": {"name": "robust_s1", "channels": 2, "layers": 3},
    "robust_s2": {"name": "robust_s2", "channels": 3, "layers": 4, "nodes": 2},  # odd halves
    "robust_s3": {"name": "robust_s3", "channels": 4, "layers": 3, "nodes": 2},
    "nasbench201": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
    "imagenet": {"name": "robust_s3", "channels": 4, "layers": 3, "nodes": 2, "stem": "imagenet"},
}


def pack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the state of one module of K lanes, made of the states of K modules of one lane."""
    if len(states) == 1:
        return dict(states[0])
    return {name: torch.cat([torch.atleast_1d(state[name]) for state in states]) for name in states[0]}


def unpack(state: Mapping[str, Tensor], lanes: int, lane: int) -> dict[str, Tensor]:
    """Returns a copy of the state of lane number `lane`, as a module of one lane has it."""
    return {name: value.clone() for name, value in views(state, lanes, lane).items()}


def supernet(
    space: dict[str, Any], lanes: int = 1, seed: int = 0, transforms: Sequence[MixedTransform] = (), task: Task = TASK
) -> Any:
    torch.manual_seed(seed)
    network = Choose("space").parse(space).build().supernet(task, transforms, lanes=lanes)
    return network.double().to(memory_format=torch.channels_last)


@dataclass
class Group:
    """Several lanes: their supernets, batches and arch weights."""

    networks: list[Any]
    batches: list[Batch]
    arch_weights: list[dict[str, Tensor]]

    def at(self, order: Sequence[int]) -> Group:
        return Group(*([part[lane] for lane in order] for part in (self.networks, self.batches, self.arch_weights)))


def group(
    space: dict[str, Any],
    lanes: int = LANES,
    by_layer: bool = False,
    transforms: Callable[[int], Sequence[MixedTransform]] = lambda lane: (),
) -> Group:
    """Lanes that differ in everything that may differ, statistics and counts of batches too."""
    networks, batches, arch_weights = [], [], []
    for lane in range(lanes):
        network = supernet(space, seed=lane, transforms=transforms(lane))
        draw_from(network, torch.Generator().manual_seed(200 + lane))
        generator = torch.Generator().manual_seed(100 + lane)
        batch = Batch(images(generator), torch.randint(4, (5,), generator=generator))
        shapes = {name: cell.alpha_shape for name, cell in Choose("space").parse(space).build().cells.items()}
        if by_layer:
            shapes = {name: (network.layers()[name], *shape) for name, shape in shapes.items()}  # type: ignore[misc]
        weights = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1).requires_grad_()
            for name, shape in shapes.items()
        }
        for name, buffer in network.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(lane)  # the lanes have seen different numbers of batches
            else:
                buffer.add_(torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
        networks.append(network)
        batches.append(batch)
        arch_weights.append(weights)
    return Group(networks, batches, arch_weights)


def images(generator: torch.Generator) -> Tensor:
    drawn = torch.randn(5, 9, 9, 3, generator=generator, dtype=torch.float64)
    return drawn.permute(0, 3, 1, 2)  # channels last in memory


def fused(
    space: dict[str, Any], lanes: Group, transforms: Sequence[MixedTransform] = ()
) -> tuple[Any, Batch, dict[str, Tensor]]:
    """The same lanes in one supernet."""
    network = supernet(space, len(lanes.networks), seed=77, transforms=transforms)
    network.load_state_dict(pack([one.state_dict() for one in lanes.networks]))
    batch = Batch(
        torch.cat([one.inputs for one in lanes.batches], 1), torch.stack([one.targets for one in lanes.batches])
    )
    names = lanes.arch_weights[0]
    weights = {name: torch.stack([one[name].detach() for one in lanes.arch_weights]).requires_grad_() for name in names}
    return network, batch, weights


@dataclass
class Pass:
    """What one pass of one lane gives."""

    logits: Tensor
    value: Tensor
    correct: Tensor
    weights: dict[str, Tensor]
    arch_weights: dict[str, Tensor]
    state: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        return {
            "logits": self.logits,
            "value": self.value,
            "correct": self.correct,
            **{f"gradient of {name}": gradient for name, gradient in self.weights.items()},
            **{f"gradient of arch weights, {name}": gradient for name, gradient in self.arch_weights.items()},
            **{f"after the pass: {name}": value for name, value in self.state.items()},
        }


def alone(network: nn.Module, batch: Batch, arch_weights: dict[str, Tensor]) -> Pass:
    loss, logits = losses(network, batch, arch_weights)
    assert loss.value.shape == loss.data.shape == ()
    parameters = dict(network.named_parameters())
    gradients = torch.autograd.grad(loss.value, [*parameters.values(), *arch_weights.values()])
    return Pass(
        logits, loss.value.detach(), loss.correct, dict(zip(parameters, gradients, strict=False)),
        dict(zip(arch_weights, gradients[len(parameters) :], strict=True)), dict(network.state_dict()),
    )  # fmt: skip


def together(network: nn.Module, batch: Batch, arch_weights: dict[str, Tensor]) -> list[Pass]:
    loss, logits = losses(network, batch, arch_weights)
    lanes = len(logits)
    assert loss.value.shape == loss.data.shape == loss.correct.shape == (lanes,)
    assert loss.count == 5
    parameters = dict(network.named_parameters())
    gradients = torch.autograd.grad(loss.value.sum(), [*parameters.values(), *arch_weights.values()])
    of_weights = dict(zip(parameters, gradients, strict=False))
    of_arch = dict(zip(arch_weights, gradients[len(parameters) :], strict=True))
    return [
        Pass(
            logits[lane],
            loss.value[lane].detach(),
            loss.correct[lane],
            unpack(of_weights, lanes, lane),
            {name: gradient[lane] for name, gradient in of_arch.items()},
            unpack(network.state_dict(), lanes, lane),
        )
        for lane in range(lanes)
    ]


def losses(network: nn.Module, batch: Batch, arch_weights: dict[str, Tensor]) -> Any:
    kept = []
    hook = network.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))
    loss = TASK.loss(network, batch, arch_weights)
    hook.remove()
    return loss, kept[0]


def assert_close(one: Pass, other: Pass) -> None:
    expected = other.tensors()
    for name, value in one.tensors().items():
        assert value.dtype == expected[name].dtype
        torch.testing.assert_close(
            value, expected[name], rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_equal(one: Pass, other: Pass) -> None:
    expected = other.tensors()
    for name, value in one.tensors().items():
        assert torch.equal(value, expected[name]), name
