"""Convolutions, each computed in the way that is fast on its device. In exact arithmetic all equal torch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raydarts.spaces.layout import layout
from raydarts.spaces.pointwise import pointwise
from raydarts.spaces.second_derivatives import linear_convolution, twice


class Convolution(nn.Conv2d):
    """`nn.Conv2d` whose groups, where it is 1x1, are lanes.

    On a GPU a 1x1 convolution of a channels-last image is a product of matrices. On a CPU the second derivative with
    constant weights is one convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cuda" and self._is_pointwise and layout(x) == torch.channels_last:
            x, weight = as_convolutions_compute(x, self.weight)
            return pointwise(x, weight, self.groups)
        if twice(x) and not self.weight.requires_grad and self.bias is None:
            return linear_convolution(x, self.weight, self.stride, self.padding, self.dilation, self.groups)
        return super().forward(x)

    @property
    def _is_pointwise(self) -> bool:
        if torch.compiler.is_compiling():  # the compiler makes its own choice
            return False
        return self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0) and self.bias is None


def as_convolutions_compute(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Returns the tensors in the type in which a convolution computes here (`torch.autocast`).

    torch casts for its own functions alone.
    """
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) for tensor in tensors)
