"""What an autograd function keeps between its two passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class Context(FunctionCtx):
    """torch's context with the attributes that our functions set. For type checkers alone: torch makes its own."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    sizes: list[int]
    layout: torch.memory_format
    shape: torch.Size
    dilation: int
    kernel: int
    lanes: int
    channels: int
    eps: float
    how: tuple[Any, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps these for the backward pass. torch takes None for one that is not needed."""
