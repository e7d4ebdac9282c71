"""What a relaxation is: alpha to arch weights."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from raydarts.registry import Member


class Relaxation(Member):
    """Turns raw architecture logits into arch weights (family `relaxation`)."""

    @abstractmethod
    def __call__(self, alpha: Tensor) -> Tensor:
        """`(num_edges, num_ops)` to `(num_edges, num_ops)`, differentiable."""
