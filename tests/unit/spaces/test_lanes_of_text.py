"""A recurrent supernet of K lanes computes what K supernets compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from raydarts.registry import Choose
from raydarts.search.lanes import lane_batch
from raydarts.search.moments import Moment
from raydarts.spaces.transform import MixedTransform
from raydarts.streams import Streams
from raydarts.tasks import Batch, LanguageModelling, Loss
from tests.unit.spaces.several_lanes import pack, unpack

pytestmark = pytest.mark.usefixtures("one_thread")

LANES, STEPS, COLUMNS, UNITS = 3, 4, 5, 6
TASK = LanguageModelling(11)
SPACE = {
    "name": "darts-rnn",
    "nodes": 3,
    "units": UNITS,
    "embedding_dropout": 0.2,
    "activation_regularization": 0.1,
    "slowness": 0.2,
}
REMEDIES: dict[str, list[dict[str, Any]]] = {
    "drop_path": [{"probability": probability} for probability in (0.2, 0.4, 0.6)],
    "skip_dropout": [{"rate": rate} for rate in (0.3, 0.5, 0.7)],
    "auxiliary_skip": [{"start": start} for start in (0.9, 0.5, 0.1)],
}


def supernet(lanes: int, seed: int, transforms: Any = ()) -> Any:
    torch.manual_seed(seed)
    return Choose("space").parse(SPACE).build().supernet(TASK, transforms, lanes=lanes).double()


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(lane) for lane in range(LANES)]


def transforms(names: list[str], lane: int) -> list[MixedTransform]:
    made = []
    for name in names:
        built: Any = Choose("regularizer").parse({"name": name, **REMEDIES[name][lane]}).build()
        built.bind(Streams(lane))
        if name == "skip_dropout":
            built.attach(Choose("space").parse(SPACE).build(), None)
        built.on_epoch_start(Moment(3, 5))
        made.append(built.transform())
    return made


def lane_data(lane: int, by_step: bool, steps: int = STEPS) -> tuple[Batch, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(50 + lane)
    tokens, targets = torch.randint(11, (2, steps, COLUMNS), generator=generator)
    memory = torch.randn(COLUMNS, UNITS, generator=generator, dtype=torch.float64)
    shape = Choose("space").parse(SPACE).build().cells["recurrent"].alpha_shape
    table = torch.randn(*((steps,) if by_step else ()), *shape, generator=generator, dtype=torch.float64).softmax(-1)
    return Batch(tokens, targets, memory), {"recurrent": table.requires_grad_()}


def passed(network: Any, batch: Batch, arch_weights: dict[str, Tensor]) -> tuple[Loss, list[Tensor], Tensor]:
    """The loss, the gradients of its training value, and a second derivative."""
    loss = TASK.loss(network, batch, arch_weights)
    value = loss.value.sum() if loss.penalty is None else (loss.value + loss.penalty).sum()
    table = arch_weights["recurrent"]
    gradients = torch.autograd.grad(value, [*network.parameters(), table], create_graph=True)
    along = [weight.detach().cos() for weight in network.parameters()]
    (second,) = torch.autograd.grad(gradients[:-1], table, along)
    return loss, [gradient.detach() for gradient in gradients], second


@pytest.mark.parametrize("lengths", [(STEPS,) * LANES, (1, STEPS, 3)], ids=["one length", "other lengths"])
@pytest.mark.parametrize(
    ("remedies", "by_step", "training"),
    [([], False, True), ([], True, True), ([], False, False), *(([name], False, True) for name in REMEDIES)],
)
def test_each_lane_gives_what_its_network_gives(
    remedies: list[str], by_step: bool, training: bool, lengths: tuple[int, ...]
) -> None:
    networks = [supernet(1, lane, transforms(remedies, lane)) for lane in range(LANES)]
    for lane, network in enumerate(networks):
        network.cell.norm.num_batches_tracked.fill_(lane)
    rows = zip(*(transforms(remedies, lane) for lane in range(LANES)), strict=True)
    several = supernet(LANES, 9, [type(row[0]).fused(row) for row in rows])
    several.load_state_dict(pack([network.state_dict() for network in networks]))
    data = [lane_data(lane, by_step, length) for lane, length in enumerate(lengths)]
    batch = lane_batch([one for one, _ in data], "text")
    table = pad_sequence([weights["recurrent"].detach() for _, weights in data], True).requires_grad_()
    several.train(training).draw_from(generators())
    assert several.layers(batch.inputs) == networks[1].layers(data[1][0].inputs)
    loss, gradients, second = passed(several, batch, {"recurrent": table})
    assert loss.value.shape == loss.data.shape == (LANES,)
    names = [name for name, _ in several.named_parameters()]
    for lane, generator in enumerate(generators()):
        network = networks[lane].train(training)
        network.draw_from(generator)
        alone, expected, second_alone = passed(network, *data[lane])
        count = loss.count[lane] if isinstance(loss.count, Tensor) else loss.count
        assert count == alone.count == lengths[lane] * COLUMNS
        close(loss.value[lane], alone.value)
        assert loss.memory is not None
        close(loss.memory[lane], alone.memory)
        assert (loss.penalty is None) == (alone.penalty is None) == (not training)
        if loss.penalty is not None:
            close(loss.penalty[lane], alone.penalty)
        mine = unpack(dict(zip(names, gradients, strict=False)), LANES, lane)
        for name, gradient in zip(names, expected, strict=False):
            close(mine[name], gradient)
        steps = lengths[lane] if by_step else None  # after its end nothing depends on a lane's arch weights
        close(gradients[-1][lane][:steps], expected[-1])
        close(second[lane][:steps], second_alone)
        assert not by_step or not gradients[-1][lane][steps:].any()
        state = unpack(several.state_dict(), LANES, lane)
        assert state.keys() == network.state_dict().keys()
        for name, value in network.state_dict().items():
            close(state[name], value)


def close(value: Tensor, expected: Tensor | None) -> None:
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)


def test_what_is_not_finite_in_one_lane_leaves_the_others_bits() -> None:
    batches = [lane_data(lane, False) for lane in range(LANES)]
    batch = Batch(
        *(torch.stack([getattr(one, name) for one, _ in batches]) for name in ("inputs", "targets", "memory"))
    )
    table = torch.stack([weights["recurrent"].detach() for _, weights in batches]).requires_grad_()
    found = []
    for number in (0.1, float("nan"), float("inf")):
        network = supernet(LANES, 4)
        network.draw_from(generators())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.chunk(LANES)[1].fill_(number)
        _, gradients, _ = passed(network, batch, {"recurrent": table})
        names = [name for name, _ in network.named_parameters()]
        found.append([unpack(dict(zip(names, gradients, strict=False)), LANES, lane) for lane in range(LANES)])
        assert all(torch.isfinite(gradients[-1][lane]).all() for lane in (0, 2))
    for lane in (0, 2):
        for other in found[1:]:
            for name, value in found[0][lane].items():
                assert torch.equal(other[lane][name], value)
