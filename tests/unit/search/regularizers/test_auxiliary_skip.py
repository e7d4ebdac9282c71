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


def cells(**settings: Any) -> tuple[Any, Any, Any]:
    """A cell with the remedy and one without, equal weights, and the remedy."""
    space = Choose("space").parse({"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2}).build()
    built = remedy(**settings)
    supernet = space.supernet((1, 8, 8), 3, [built.transform()]).double()
    plain = space.supernet((1, 8, 8), 3).double()
    missing = plain.load_state_dict(supernet.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all("extras" in key for key in missing.unexpected_keys)
    return supernet.cells, plain.cells, built


@pytest.mark.parametrize("operation", ["skip", "conv1"])
@pytest.mark.parametrize("training", [True, False])
def test_an_edge_gets_the_skip_added(training: bool, operation: str) -> None:
    with_skip, plain, built = cells(operation=operation, start=0.8)
    c = coefficient(built, 25)
    weights = torch.rand(5, 8, dtype=torch.float64)
    inputs = [torch.randn(6, 8, 8, 8, dtype=torch.float64) for _ in range(2)]  # layer 1 is a reduction
    graph, other = with_skip[1].train(training), plain[1].train(training)
    found, without = graph.nodes(inputs, weights), other.nodes(inputs, weights)
    skips = [graph.extras[key] for key in ("0-0", "1-0")]
    assert all(isinstance(skip, FactorizedReduce) for skip in skips)
    added = sum(skip(x.relu()) for skip, x in zip(skips, inputs, strict=True))
    torch.testing.assert_close(found[0], without[0] + c * added, rtol=0, atol=1e-12)
    # the second node's edge of stride 1, from the first: its own input, whole
    sums = [graph._transformed(graph_source(found[0]), 4, weights[4].unbind(), graph.keys[4])]
    sums.append(other._sum(None, graph_source(found[0]), 4, weights[4].unbind(), other.keys[4]))
    torch.testing.assert_close(sums[0], sums[1] + c * found[0], rtol=0, atol=1e-12)


def graph_source(x: torch.Tensor) -> Any:
    from raydarts.spaces.cells import _Source

    return _Source(x)


def test_its_weights_are_its_own() -> None:
    with_skip, _, _ = cells()
    names = {name.rsplit(".", 2)[0] for name, _ in with_skip[1].extras.named_parameters()}
    assert names == {"0-0", "1-0", "2-0", "3-0"}  # the edges of stride 2
    assert not list(with_skip[1].extras["0-0"].norm.parameters())
    convolutions, _, _ = cells(operation="conv1")
    own = convolutions[1].extras["4-0"]
    assert isinstance(own, nn.Conv2d)
    assert torch.equal(own.weight.squeeze(), torch.eye(8, dtype=torch.float64))


def test_its_state_acts_without_an_epochs_start() -> None:
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


def test_from_nothing_there_is_nothing() -> None:
    assert remedy(start=0.0).transform() is None
