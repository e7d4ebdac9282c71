"""What a selection is: alpha to genotype."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from raydarts.registry import Member
from raydarts.spaces import Genotype, Space


class Selection(Member):
    """Picks the genotype (family `selection`)."""

    @abstractmethod
    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        """`arch_weights`: `(num_edges, num_ops)` for each cell type."""

    def check(self, space: Space) -> None:
        """Raise `InputError` where these settings make no sense in the space. Asked when a spec is read."""
