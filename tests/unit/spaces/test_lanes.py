"""A supernet of K lanes computes what K supernets compute, and no value of a lane reaches another lane."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.errors import InputError
from raydarts.registry import Choose, members
from raydarts.search.moments import Moment
from raydarts.spaces.base import Space
from raydarts.spaces.drawn import draw_from
from raydarts.spaces.primitives import build_operation
from raydarts.spaces.transform import MixedTransform
from raydarts.streams import Streams
from raydarts.tasks import Batch
from tests.unit.spaces.several_lanes import (
    LANES,
    SPACES,
    TASK,
    Group,
    alone,
    assert_close,
    assert_equal,
    fused,
    group,
    pack,
    supernet,
    together,
    unpack,
)

pytestmark = pytest.mark.usefixtures("one_thread")


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
    # Kernels on a CPU take several channels at once and round the rest in another way. Where each layer has four
    # channels a lane or a multiple, no channel belongs to such a rest in one order only.
    same = assert_close if space in ("robust_s1", "robust_s2", "imagenet") else assert_equal
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
    counts = {name: [int(state[name]) for state in states] for name in packed if name.endswith("num_batches_tracked")}
    assert all(count == [0, 1, 2] for count in counts.values())
    assert counts


@pytest.mark.parametrize("space", SPACES)
def test_a_network_of_one_lane_has_no_lane_dimension(space: str) -> None:
    names = Choose("space").parse(SPACES[space]).build().supernet(TASK).state_dict()
    one = pack([supernet(SPACES[space]).state_dict()])
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in names.items()}
    assert {name: value.shape for name, value in unpack(one, 1, 0).items()} == {
        name: value.shape for name, value in names.items()
    }


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
    assert all(shipped[space["name"]] for space in SPACES.values())
    inherited = type("Inherited", (members("space")["darts-cnn"],), {})
    assert issubclass(inherited, Space)
    assert not inherited.LANES


def test_a_primitive_without_lanes_is_refused() -> None:
    with pytest.raises(InputError, match="conv_7x1_1x7 has no lanes"):
        build_operation("conv_7x1_1x7", 4, 1, affine=False, normalised=True, lanes=2)


@pytest.mark.parametrize("in_evaluation", [False, True])
def test_each_lane_draws_the_noise_that_its_network_draws(in_evaluation: bool) -> None:
    space = {"name": "robust_s4", "channels": 4, "layers": 3, "nodes": 2}
    lanes = group(space)
    network, batch, weights = fused(space, lanes)
    for one in (network, *lanes.networks):
        one.train(not in_evaluation)
    draw_from(network, generators())
    several = together(network, batch, weights)
    for lane, generator in enumerate(generators()):
        draw_from(lanes.networks[lane], generator)
        assert_close(several[lane], alone(lanes.networks[lane], lanes.batches[lane], lanes.arch_weights[lane]))


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(300 + lane) for lane in range(LANES)]


# Numbers differ between the lanes, where they may. A lane may have a probability of 0.
REMEDIES: dict[str, list[dict[str, Any]]] = {
    "auxiliary_skip": [{"start": 0.9}, {"start": 0.4}, {"start": 0.7, "schedule": "cosine"}],
    "auxiliary_skip of conv1": [{"operation": "conv1", "start": start} for start in (0.3, 0.2, 0.1)],
    "auxiliary_skip alike": [{"start": 0.5}] * 3,
    "partial_channels": [{"k": 2}] * 3,
    "drop_path": [{"probability": 0.2}, {"probability": 0.6}, {"probability": 0.4}],
    "skip_dropout": [{"rate": 0.5, "strided": True}, {"rate": 0.3}, {"rate": 0.7, "decay": 0.1}],
}


def transforms(remedies: list[str], lane: int, progress: int = 3) -> list[MixedTransform]:
    made = []
    for name in remedies:
        settings = {"name": name.split()[0], **REMEDIES[name][lane]}
        built: Any = Choose("regularizer").parse(settings).build()
        built.bind(Streams(lane))
        built.on_epoch_start(Moment(progress if lane else 0, 5))  # the first epoch of a drop_path drops nothing
        made.append(built.transform())
    return made


@pytest.mark.parametrize(
    ("space", "remedies"),
    [
        *(("darts-cnn", [name]) for name in REMEDIES),
        ("nasbench201", ["drop_path", "partial_channels", "skip_dropout"]),
        ("darts-cnn", ["drop_path", "auxiliary_skip", "partial_channels", "skip_dropout"]),
    ],
)
def test_remedies_act_on_each_lane_as_on_its_network(space: str, remedies: list[str]) -> None:
    lanes = group(SPACES[space], transforms=lambda lane: transforms(remedies, lane))
    rows = zip(*(transforms(remedies, lane) for lane in range(LANES)), strict=True)
    assert all(type(transform).LANES for transform in transforms(remedies, 0))
    together_transforms = [type(row[0]).fused(row) for row in rows]
    network, batch, weights = fused(SPACES[space], lanes, together_transforms)
    several = together(network, batch, weights)
    for lane, one in enumerate(several):
        assert_close(one, alone(lanes.networks[lane], lanes.batches[lane], lanes.arch_weights[lane]))


def test_a_transform_says_itself_that_it_acts_on_lanes() -> None:
    inherited = type("Inherited", (type(transforms(["drop_path"], 0)[0]),), {})
    assert issubclass(inherited, MixedTransform)
    assert not inherited.LANES
    with pytest.raises(InputError, match="does not act on lanes"):
        MixedTransform.fused([MixedTransform()])


def test_lanes_of_one_supernet_have_one_k() -> None:
    made = [Choose("regularizer").parse({"name": "partial_channels", "k": k}).build().transform() for k in (2, 4)]
    with pytest.raises(InputError, match="same k"):
        type(made[0]).fused(made)
