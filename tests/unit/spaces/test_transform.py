"""The seams of a mixed operation: a part of the channels, arch weights of single layers, candidates left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.errors import InputError
from raydarts.registry import Choose
from raydarts.spaces.cells import MixedGraph
from raydarts.spaces.transform import MixedEdge, MixedTransform
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")

NASBENCH = {"name": "nasbench201", "channels": 4, "cells_per_stage": 2}
DARTS = {"name": "darts-cnn", "channels": 4, "layers": 4, "nodes": 2}


class Half(MixedTransform):
    """The first half through the candidates; the other half is subsampled."""

    def share(self, channels: int) -> int:
        return channels // 2

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        assert output.shape[1] == edge.channels // 2
        assert source.shape[1] == edge.channels
        return torch.cat([output, source[:, edge.channels // 2 :, :: edge.stride, :: edge.stride]], 1)


class Widths(MixedTransform):
    """Notes how wide the sums are that it is given."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        self.seen.add((output.shape[1], edge.channels))
        return output


class Double(MixedTransform):
    """Doubles every candidate's output."""

    def on_operation(self, output: Tensor, edge: MixedEdge, primitive: str, *, training: bool) -> Tensor:
        return 2 * output


def built(space: dict[str, Any], transforms: Any = ()) -> Any:
    torch.manual_seed(0)
    return Choose("space").parse(space).build().supernet(Classification((1, 8, 8), 3), transforms).double()


def weights_of(space: dict[str, Any], layers: int | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    cells = Choose("space").parse(space).build().cells
    shapes = {name: cell.alpha_shape if layers is None else (layers, *cell.alpha_shape) for name, cell in cells.items()}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1) for name, shape in shapes.items()
    }


def images() -> Tensor:
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("layer", [0, 1])  # normal, and a reduction with edges of both strides
def test_candidates_see_the_first_share_of_the_channels(layer: int) -> None:
    supernet = built(DARTS, [Half()])
    cell, channels = supernet.cells[layer], 4 * 2**layer
    assert cell.share == channels // 2
    convolutions = [m for m in cell.operations.modules() if isinstance(m, nn.Conv2d)]
    assert {m.in_channels for m in convolutions} == {channels // 2}
    nodes = [torch.randn(5, channels, 8, 8, dtype=torch.float64) for _ in range(2)]
    weights = weights_of(DARTS)["normal"]
    found = cell.nodes(nodes, weights)
    for node in (2, 3):
        total: Any = 0
        for index in cell.spec.incoming(node):
            edge, source = cell.edges[index], nodes[cell.edges[index].src]
            part = source[:, : channels // 2]
            summed: Any = 0
            for weight, key in zip(weights[index], cell.keys[index], strict=True):
                if key is not None:
                    operation = cell.operations[key]
                    summed = summed + weight * operation(part.relu() if operation.PREACTIVATED else part)
            total = total + torch.cat([summed, source[:, channels // 2 :, :: edge.stride, :: edge.stride]], 1)
        nodes.append(total)
    for one, other in zip(found, nodes[2:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_others_see_all_channels_whatever_the_order() -> None:
    for order in (0, 1):
        widths = Widths()
        supernet = built(DARTS, [Half(), widths] if order else [widths, Half()])
        supernet(images(), weights_of(DARTS))
        assert widths.seen == {(channels, channels) for channels in (4, 8, 16)}


def test_two_transforms_that_narrow_channels_are_refused() -> None:
    with pytest.raises(InputError, match="choose one of them"):
        built(DARTS, [Half(), Half()])


@pytest.mark.parametrize("space", [DARTS, NASBENCH], ids=["darts-cnn", "nasbench201"])
def test_equal_arch_weights_of_all_layers_are_those_of_the_type(space: dict[str, Any]) -> None:
    supernet, shared = built(space), weights_of(space)
    layers = Counter(getattr(supernet, "types", ["cell"] * 6))
    own = {name: weights.expand(layers[name], *weights.shape) for name, weights in shared.items()}
    assert torch.equal(supernet(images(), shared), supernet(images(), own))
    first = {name: weights.clone() for name, weights in own.items()}
    for weights in first.values():
        weights[-1] = weights[-1].flip(-1)
    assert not torch.allclose(supernet(images(), shared), supernet(images(), first))


@pytest.mark.parametrize("space", [DARTS, NASBENCH], ids=["darts-cnn", "nasbench201"])
def test_each_layer_gets_its_own_arch_weights(space: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    supernet, weights = built(space), weights_of(space, layers=6)
    given: list[tuple[str, Tensor]] = []
    nodes = MixedGraph.nodes

    def noting(self: MixedGraph, inputs: Any, arch_weights: Tensor) -> list[Tensor]:
        given.append((self.edges[0].cell_type, arch_weights))
        return nodes(self, inputs, arch_weights)

    monkeypatch.setattr(MixedGraph, "nodes", noting)
    supernet(images(), weights)
    types = [cell_type for cell_type, _ in given]
    assert types == list(getattr(supernet, "types", ["cell"] * 6))
    for number, (cell_type, found) in enumerate(given):
        assert torch.equal(found, weights[cell_type][types[:number].count(cell_type)])


@pytest.mark.parametrize("transforms", [[], [Double()], [Half()]], ids=["plain", "operation", "part"])
@pytest.mark.parametrize("space", [DARTS, NASBENCH], ids=["darts-cnn", "nasbench201"])
def test_leaving_out_zeros_changes_no_value_and_saves_the_work(space: dict[str, Any], transforms: Any) -> None:
    supernet = built(space, transforms)
    weights = {}
    for name, dense in weights_of(space).items():
        kept = torch.zeros_like(dense).scatter_(-1, dense.argmax(-1, keepdim=True), 1.0)
        kept[-1] = 0.0  # an edge with nothing at all
        weights[name] = kept.requires_grad_()
    ran: Counter[str] = Counter()
    graphs = [module for module in supernet.modules() if isinstance(module, MixedGraph)]
    for graph in graphs:
        for operation in graph.operations.values():
            operation.register_forward_hook(lambda *_: ran.update(["operation"]))
    outputs, gradients, counts = [], [], []
    for skips in (False, True):
        for graph in graphs:
            graph.skips_zeros = skips
        ran.clear()
        output = supernet(images(), weights)
        outputs.append(output.detach())
        gradients.append(torch.autograd.grad(output.square().sum(), list(weights.values())))
        counts.append(ran["operation"])
    assert torch.allclose(*outputs, rtol=1e-12, atol=1e-12)
    assert counts[1] < counts[0] / 2
    for dense, sparse, given in zip(*gradients, weights.values(), strict=True):
        assert torch.allclose(sparse, torch.where(given != 0, dense, 0.0), rtol=1e-10, atol=1e-12)
        assert not torch.equal(sparse, dense)
