"""A supernet of K lanes computes what K supernets compute, and no value of a lane reaches another lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.errors import InputError
from raydarts.registry import Choose, members
from raydarts.spaces.base import Space
from raydarts.spaces.lanes import pack, unpack
from raydarts.spaces.primitives import build_operation
from raydarts.tasks import Batch, Classification

pytestmark = pytest.mark.usefixtures("one_thread")

LANES = 3
TASK = Classification((3, 9, 9), 4)  # odd sides: the shifted half of a factorized reduce is padded
SPACES: dict[str, dict[str, Any]] = {
    "darts-cnn": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
    "robust_s1": {"name": "robust_s1", "channels": 2, "layers": 3},
    "robust_s2": {"name": "robust_s2", "channels": 3, "layers": 4, "nodes": 2},  # odd halves
    "robust_s3": {"name": "robust_s3", "channels": 4, "layers": 3, "nodes": 2},
}


def supernet(space: dict[str, Any], lanes: int = 1, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    network = Choose("space").parse(space).build().supernet(TASK, lanes=lanes)
    return network.double().to(memory_format=torch.channels_last)


@dataclass
class Group:
    """Several lanes: their supernets, batches and arch weights."""

    networks: list[Any]
    batches: list[Batch]
    arch_weights: list[dict[str, Tensor]]

    def at(self, order: Sequence[int]) -> Group:
        return Group(*([part[lane] for lane in order] for part in (self.networks, self.batches, self.arch_weights)))


def group(space: dict[str, Any], lanes: int = LANES, by_layer: bool = False) -> Group:
    """Lanes that differ in everything that may differ, some steps of training old."""
    networks, batches, arch_weights = [], [], []
    for lane in range(lanes):
        network = supernet(space, seed=lane)
        generator = torch.Generator().manual_seed(100 + lane)
        batch = Batch(images(generator), torch.randint(4, (5,), generator=generator))
        shapes = {name: cell.alpha_shape for name, cell in Choose("space").parse(space).build().cells.items()}
        if by_layer:
            shapes = {name: (network.layers()[name], *shape) for name, shape in shapes.items()}  # type: ignore[misc]
        weights = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1).requires_grad_()
            for name, shape in shapes.items()
        }
        with torch.no_grad():
            for _ in range(lane):  # the lanes have seen different numbers of batches
                network(images(generator), weights)
        networks.append(network)
        batches.append(batch)
        arch_weights.append(weights)
    return Group(networks, batches, arch_weights)


def images(generator: torch.Generator) -> Tensor:
    drawn = torch.randn(5, 9, 9, 3, generator=generator, dtype=torch.float64)
    return drawn.permute(0, 3, 1, 2)  # channels last in memory


def fused(space: dict[str, Any], lanes: Group) -> tuple[Any, Batch, dict[str, Tensor]]:
    """The same lanes in one supernet."""
    network = supernet(space, len(lanes.networks), seed=77)
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


@pytest.mark.parametrize("by_layer", [False, True], ids=["one table", "a table for each layer"])
@pytest.mark.parametrize("space", SPACES)
def test_each_lane_gives_what_its_network_gives(space: str, by_layer: bool) -> None:
    lanes = group(SPACES[space], by_layer=by_layer)
    several = together(*fused(SPACES[space], lanes))
    for lane, one in enumerate(several):
        assert_close(one, alone(lanes.networks[lane], lanes.batches[lane], lanes.arch_weights[lane]))


@pytest.mark.parametrize("space", SPACES)
def test_each_lane_is_measured_as_its_network_is(space: str) -> None:
    lanes = group(SPACES[space])
    network, batch, weights = fused(SPACES[space], lanes)
    found = network.eval()(batch.inputs, weights)
    for lane, one in enumerate(lanes.networks):
        expected = one.eval()(lanes.batches[lane].inputs, lanes.arch_weights[lane])
        torch.testing.assert_close(found[lane], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_lanes_in_another_order_give_equal_bits(space: str) -> None:
    order = [2, 0, 1]
    lanes = group(SPACES[space])
    first = together(*fused(SPACES[space], lanes))
    second = together(*fused(SPACES[space], lanes.at(order)))
    # Kernels on a CPU take several channels at once and round the rest in another way. With four channels a lane, no
    # channel belongs to such a rest in one order only.
    same = assert_equal if SPACES[space]["channels"] % 4 == 0 else assert_close
    for place, lane in enumerate(order):
        same(second[place], first[lane])


@pytest.mark.parametrize("space", SPACES)
def test_a_repeated_pass_gives_equal_bits(space: str) -> None:
    lanes = group(SPACES[space])
    first, second = (together(*fused(SPACES[space], lanes)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert_equal(one, other)


NOT_FINITE = [("weights", "nan"), ("weights", "inf"), ("statistics", "nan"), ("inputs", "inf"), ("arch weights", "nan")]


@pytest.mark.parametrize("space", ["darts-cnn", "robust_s2"])
@pytest.mark.parametrize(("where", "number"), NOT_FINITE)
def test_what_is_not_finite_in_one_lane_leaves_the_others_bits(space: str, where: str, number: str) -> None:
    value = float(number)
    lanes = group(SPACES[space])
    expected = together(*fused(SPACES[space], lanes))
    network, batch, weights = fused(SPACES[space], lanes)
    with torch.no_grad():
        if where == "weights":
            for parameter in network.parameters():
                parameter.chunk(LANES)[1].fill_(value)
        elif where == "statistics":
            for name, buffer in network.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.chunk(LANES)[1].fill_(value)
        elif where == "inputs":
            batch.inputs[:, 3:6] = value
        else:
            for table in weights.values():
                table[1] = value
    found = together(network, batch, weights)
    assert not all(torch.isfinite(tensor).all() for tensor in found[1].tensors().values())
    for lane in (0, 2):
        assert_equal(found[lane], expected[lane])


@pytest.mark.parametrize("space", SPACES)
def test_second_derivatives_of_each_lane_are_those_of_its_network(space: str) -> None:
    lanes = group(SPACES[space])
    network, batch, weights = fused(SPACES[space], lanes)
    found = product(
        network,
        batch,
        weights,
        {name: [value.clone() for value in direction(lanes, name)] for name, _ in network.named_parameters()},
    )
    for lane, one in enumerate(lanes.networks):
        along = {name: [direction(lanes, name)[lane]] for name, _ in one.named_parameters()}
        expected = product(one, lanes.batches[lane], lanes.arch_weights[lane], along)
        for name, value in expected.items():
            torch.testing.assert_close(found[name][lane], value, rtol=1e-11, atol=1e-11)


def direction(lanes: Group, name: str) -> list[Tensor]:
    return [dict(network.named_parameters())[name].detach().cos() for network in lanes.networks]


def product(
    network: nn.Module, batch: Batch, arch_weights: dict[str, Tensor], along: dict[str, list[Tensor]]
) -> dict[str, Tensor]:
    """d2 loss / (d arch weights d weights) times a direction of the weights: what exact_hvp computes."""
    loss = TASK.loss(network, batch, arch_weights).value.sum()
    gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    directions = [torch.cat(parts) for parts in along.values()]
    found = torch.autograd.grad(gradients, list(arch_weights.values()), directions)
    return dict(zip(arch_weights, found, strict=True))


@pytest.mark.parametrize("space", SPACES)
def test_states_are_packed_and_unpacked_unchanged(space: str) -> None:
    states = [network.state_dict() for network in group(SPACES[space]).networks]
    packed = pack(states)
    assert list(packed) == list(states[0])
    for lane, state in enumerate(states):
        again = unpack(packed, LANES, lane)
        assert list(again) == list(state)
        for name, value in state.items():
            assert again[name].shape == value.shape
            assert torch.equal(again[name], value)
    counts = [int(state["stem.op.1.num_batches_tracked"]) for state in states]
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("space", SPACES)
def test_a_network_of_one_lane_has_no_lane_dimension(space: str) -> None:
    names = Choose("space").parse(SPACES[space]).build().supernet(TASK).state_dict()
    one = pack([supernet(SPACES[space]).state_dict()])
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in names.items()}
    assert unpack(one, 1, 0)["stem.op.1.num_batches_tracked"].shape == ()


def test_a_candidate_is_left_out_where_no_lane_uses_it() -> None:
    space = SPACES["darts-cnn"]
    lanes = group(space)
    for one in lanes.arch_weights:
        for table in one.values():
            table.requires_grad_(False)[:, 4] = 0
    several = fused(space, lanes)
    for network in (*lanes.networks, several[0]):
        for cell in network.cells:
            cell.skips_zeros = True
    calls: list[str] = []
    for name, module in several[0].named_modules():
        if name.endswith("-sep_conv_3x3"):
            module.register_forward_hook(lambda module, inputs, output, name=name: calls.append(name))
    found = several[0](several[1].inputs, several[2])
    assert calls == []
    for lane, network in enumerate(lanes.networks):
        expected = network(lanes.batches[lane].inputs, lanes.arch_weights[lane])
        torch.testing.assert_close(found[lane], expected, rtol=1e-12, atol=1e-12)


def test_a_space_says_itself_that_it_has_lanes() -> None:
    shipped = {name: member.LANES for name, member in members("space").items()}  # type: ignore[attr-defined]
    assert {name for name, has in shipped.items() if has} >= set(SPACES)
    inherited = type("Inherited", (members("space")["darts-cnn"],), {})
    assert issubclass(inherited, Space)
    assert not inherited.LANES


def test_a_primitive_without_lanes_is_refused() -> None:
    with pytest.raises(InputError, match="conv_7x1_1x7 has no lanes"):
        build_operation("conv_7x1_1x7", 4, 1, affine=False, normalised=True, lanes=2)
