"""The auxiliary skip: its schedules by hand, what it adds to an edge, its own weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from raydarts.registry import Choose
from raydarts.search.moments import Moment
from raydarts.spaces.primitives import FactorizedReduce
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")


def remedy(**settings: Any) -> Any:
    return Choose("regularizer").parse({"name": "auxiliary_skip", **settings}).build()


def coefficient(built: Any, epoch: int, epochs: int = 50) -> float:
    built.on_epoch_start(Moment(epoch, epochs))
    return float(built.state_dict()["coefficient"])


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("linear", 1.0, 0.5, 0.02),
        ("cosine", 1.0, 0.5, 9.866357858642205e-4),
        ("slow_cosine", 1.0, math.sqrt(0.5), 0.03141075907812829),
        ("constant", 1.0, 1.0, 1.0),
    ],
)
def test_schedules(schedule: str, first: float, middle: float, last: float) -> None:
    for start in (1.0, 0.4):
        built = remedy(schedule=schedule, start=start)
        found = [coefficient(built, epoch) for epoch in (0, 25, 49)]
        assert found == pytest.approx([start * first, start * middle, start * last], rel=1e-12)


def supernet(nodes: int = 1, **settings: Any) -> tuple[Any, Any, Any]:
    """The cells with the remedy and those without, equal weights, and the remedy."""
    space = Choose("space").parse({"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": nodes}).build()
    built = remedy(**settings)
    with_skip = space.supernet(Classification((1, 8, 8), 3), [built.transform()]).double()
    plain = space.supernet(Classification((1, 8, 8), 3)).double()
    loaded = plain.load_state_dict(with_skip.state_dict(), strict=False)
    assert not loaded.missing_keys
    assert all("extras" in key for key in loaded.unexpected_keys)
    return with_skip.cells, plain.cells, built


@pytest.mark.parametrize("layer", [0, 1])  # a normal cell of 4 channels; a reduction, all edges of stride 2, of 8
@pytest.mark.parametrize("operation", ["skip", "conv1"])
@pytest.mark.parametrize("training", [True, False])
def test_every_edge_gets_a_skip_added(training: bool, operation: str, layer: int) -> None:
    with_skip, plain, built = supernet(operation=operation, start=0.8)
    c = coefficient(built, 25)
    assert c == pytest.approx(0.4)
    weights = torch.rand(2, 8, dtype=torch.float64)
    inputs = [torch.randn(6, 4 * 2**layer, 8, 8, dtype=torch.float64) for _ in range(2)]
    graph, other = with_skip[layer].train(training), plain[layer].train(training)
    (found,), (without,) = graph.nodes(inputs, weights), other.nodes(inputs, weights)
    skips = inputs  # the convolution begins as the identity
    if layer == 1:
        reductions = [graph.extras[key] for key in ("0-0", "1-0")]
        assert all(isinstance(reduction, FactorizedReduce) for reduction in reductions)
        skips = [reduction(x.relu()) for reduction, x in zip(reductions, inputs, strict=True)]
    torch.testing.assert_close(found, without + c * sum(skips), rtol=0, atol=1e-12)


def test_each_edge_has_separate_weights() -> None:
    with_skip, _, _ = supernet(nodes=2)
    names = {name.rsplit(".", 2)[0] for name, _ in with_skip[1].extras.named_parameters()}
    assert names == {"0-0", "1-0", "2-0", "3-0"}  # the edges of stride 2
    assert not list(with_skip[1].extras["0-0"].norm.parameters())
    convolutions, _, _ = supernet(nodes=2, operation="conv1")
    own = convolutions[1].extras["4-0"]
    assert isinstance(own, nn.Conv2d)
    assert torch.equal(own.weight.squeeze(), torch.eye(8, dtype=torch.float64))


def test_loaded_state_acts_before_an_epoch_starts() -> None:
    """While a selection decides no epoch starts: a resumed search must know the coefficient."""
    one, other = remedy(), remedy()
    x = torch.ones(1, 2, 2, 2)
    coefficient(one, 10)
    other.load_state_dict(one.state_dict())
    found = [built.transform().on_edge(x, x, None, None, training=True) for built in (one, other, remedy())]
    assert torch.allclose(found[0], torch.tensor(1.8))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], x)
    again = one.transform()  # of the next stage
    assert torch.equal(again.on_edge(x, x, None, None, training=True), found[0])
    coefficient(one, 25)
    assert torch.allclose(again.on_edge(x, x, None, None, training=True), torch.tensor(1.5))


def test_start_zero_adds_nothing() -> None:
    assert remedy(start=0.0).transform() is None
