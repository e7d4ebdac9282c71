"""Partial channel connections: what goes through the candidates, what past them, and where."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raydarts.errors import InputError
from raydarts.registry import Choose
from raydarts.search.moments import SearchStage
from raydarts.spaces.transform import MixedEdge
from raydarts.tasks import Classification

pytestmark = pytest.mark.usefixtures("one_thread")


def remedy(k: Any) -> Any:
    return Choose("regularizer").parse({"name": "partial_channels", "k": k}).build()


def space(name: str = "darts-cnn", **settings: Any) -> Any:
    return Choose("space").parse({"name": name, **settings}).build()


def edge(stride: int, channels: int) -> MixedEdge:
    return MixedEdge(0, "normal", 0, 0, 2, stride, channels)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_edge_matches_the_papers_formula(k: int, stride: int, layout: torch.memory_format) -> None:
    source = torch.randn(2, 12, 6, 4, dtype=torch.float64).to(memory_format=layout)
    summed = torch.randn(2, 12 // k, 6 // stride, 4 // stride, dtype=torch.float64).to(memory_format=layout)
    found = remedy(k).transform().on_edge(summed, source, edge(stride, 12), None, training=True)
    rest = source[:, 12 // k :]
    if stride == 2:
        rest = torch.stack([rest[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(0).values
    whole = torch.cat([summed, rest], 1)
    # k groups of channels; the new order takes the first channel of every group, then the second of every group
    order = [group * (12 // k) + channel for channel in range(12 // k) for group in range(k)]
    assert torch.equal(found, whole[:, order])


def test_output_matches_hand_computation() -> None:
    source = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    summed = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)
    found = remedy(2).transform().on_edge(summed, source, edge(1, 4), None, training=False)
    assert found.flatten().tolist() == [10.0, 3.0, 20.0, 4.0]


@pytest.mark.parametrize("shape", [(7, 5), (8, 8), (9, 6)])
def test_any_image_size_runs_and_every_candidate_gets_a_gradient(shape: tuple[int, int]) -> None:
    built = space(channels=2, layers=3, nodes=2)
    supernet = built.supernet(Classification((1, *shape), 3), [remedy(2).transform()]).double()
    weights = {
        name: torch.full(cell.alpha_shape, 0.125, dtype=torch.float64, requires_grad=True)
        for name, cell in built.cells.items()
    }
    logits = supernet(torch.randn(4, 1, *shape, dtype=torch.float64), weights)
    logits.square().sum().backward()
    for gradient in (weights["normal"].grad, weights["reduce"].grad):
        assert isinstance(gradient, Tensor)
        assert not gradient[:, 0].any()  # none
        assert bool((gradient[:, 1:] != 0).all())


def supernet_parameters(channels: int, k: int) -> int:
    """Of the paper's supernet on CIFAR-10, from the shapes of its convolutions."""
    total = 3 * 48 * 9 + 2 * 48  # the stem
    inputs, width = [48, 48], channels
    for layer in range(8):
        reduces = layer in (2, 5)
        width *= 2 if reduces else 1
        part = width // k
        total += sum(inputs) * width  # the two inputs' 1x1 convolutions
        # twice 3x3 and 5x5 depthwise and 1x1, then once 3x3 and 5x5 dilated and 1x1
        total += 14 * (2 * (9 + 25) * part + (9 + 25) * part + 6 * part**2)
        total += 8 * part**2 if reduces else 0  # eight edges of stride 2, whose skip connection has weights
        inputs = [inputs[1], 4 * width]
    return total + inputs[1] * 10 + 10


def test_parameters_of_the_authors_supernets() -> None:
    """Counted by the authors' code: 299,578 with k = 4 on CIFAR-10; 667,520 in the cells with k = 2 on ImageNet."""
    assert supernet_parameters(16, 1) == 1_930_618
    assert supernet_parameters(16, 4) == 299_578
    with torch.device("meta"):
        assert count(space().supernet(Classification((3, 32, 32), 10), [remedy(4).transform()])) == 299_578
        imagenet = space(stem="imagenet").supernet(Classification((3, 224, 224), 1000), [remedy(2).transform()])
        plain = space().supernet(Classification((3, 32, 32), 1000), [remedy(2).transform()])
    assert count(plain.cells) == 667_520
    assert count(imagenet.cells) < count(plain.cells)  # our ImageNet stem is 16 wide, theirs 48


def test_k_by_stage() -> None:
    built = remedy([6, 1, 4])
    for stage, k in enumerate((6, None, 4)):
        built.on_stage_start(stage)
        transform = built.transform()
        assert (transform.share(12) if transform else None) == (12 // k if k else None)
    built.check_stages((SearchStage(1),) * 3)
    with pytest.raises(InputError, match="k has 3 values and the search 2 stages"):
        built.check_stages((SearchStage(1),) * 2)
    remedy(4).check_stages((SearchStage(1),) * 2)


@pytest.mark.parametrize("name", ["darts-cnn", "nasbench201", "robust_s4"])
def test_k_must_divide_the_channels(name: str) -> None:
    remedy(4).check(space(name, channels=8), 5)
    with pytest.raises(InputError, match="k = 4 does not divide the 6 channels"):
        remedy([2, 4]).check(space(name, channels=6), 5)
    with pytest.raises(InputError, match="6 channels, which k = 4 does not divide"):
        space(name, channels=6).supernet(Classification((1, 8, 8), 3), [remedy(4).transform()])
