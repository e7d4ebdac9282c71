"""Every candidate on the GPU against the CPU, in both layouts of an image. All are skipped without a GPU.

python -m pytest -m gpu tests/gpu
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raydarts.float32 import arithmetic
from raydarts.spaces.convolution import Convolution
from raydarts.spaces.primitives import ReLUConvBN, ReLUReduce, build_operation

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LAYOUTS = {"channels-last": torch.channels_last, "channels-first": torch.contiguous_format}
CANDIDATES = ["max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
              "nor_conv_1x1", "nor_conv_3x3", "skip_connect"]  # fmt: skip


def values(module: nn.Module, x: Tensor, scale: Tensor | None) -> list[Tensor]:
    """Returns the output, and the gradients of a loss by the input, the scale and the weights."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    scales = [] if scale is None else [scale.detach().clone().requires_grad_()]
    y = module(x, *scales)
    cosines = torch.arange(y.numel(), dtype=y.dtype, device=y.device).cos().view(y.shape)
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    weights = cosines.contiguous(memory_format=layout)
    return [y, *torch.autograd.grad(y, [x, *scales, *module.parameters()], weights)]


def equal_on_both(make: Callable[[], nn.Module], channels: int, layout: torch.memory_format, scaled: bool) -> None:
    torch.manual_seed(0)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        here = make().to(dtype, memory_format=layout).train()
        there = copy.deepcopy(here).to("cuda")
        x = torch.randn(6, channels, 8, 8, dtype=dtype).contiguous(memory_format=layout)
        scale = torch.randn(channels, dtype=dtype) if scaled else None
        with arithmetic(tf32=False):
            exact = values(here, x, scale)
            found = values(there, x.cuda(), None if scale is None else scale.cuda())
        for mine, theirs in zip(found, exact, strict=True):
            error = float((mine.cpu() - theirs).norm() / theirs.norm())
            assert error < tolerance, (dtype, tuple(theirs.shape), error)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_on_the_gpu_is_that_on_the_cpu(name: str, stride: int, lanes: int, layout: str) -> None:
    if (stride == 2 and name.startswith("nor_conv")) or (stride == 1 and name == "skip_connect"):
        pytest.skip("the spaces have no such candidate")
    scaled = "pool" not in name

    def make() -> nn.Module:
        return build_operation(name, 4, stride, affine=False, normalised=True, lanes=lanes)

    equal_on_both(make, 4 * lanes, LAYOUTS[layout], scaled)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("kind", [ReLUConvBN, ReLUReduce])
def test_what_brings_inputs_to_a_cell_on_the_gpu_is_that_on_the_cpu(kind: type[nn.Module], lanes: int) -> None:
    equal_on_both(lambda: kind(8, 4, False, lanes), 8 * lanes, torch.channels_last, False)


def test_second_derivatives_on_the_gpu_are_those_on_the_cpu() -> None:
    torch.manual_seed(0)
    here = Convolution(12, 6, 1, groups=3, bias=False).double()
    there = copy.deepcopy(here).cuda()
    x = torch.randn(4, 12, 5, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last)

    def twice(module: nn.Module, x: Tensor) -> list[Tensor]:
        x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        (weight,) = module.parameters()
        first = torch.autograd.grad(module(x).sin().sum(), (x, weight), create_graph=True)
        return list(torch.autograd.grad(sum(each.square().sum() for each in first), (x, weight)))

    for mine, theirs in zip(twice(there, x.cuda()), twice(here, x), strict=True):
        assert torch.allclose(mine.cpu(), theirs, rtol=1e-10)
