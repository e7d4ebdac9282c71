"""RobustDARTS' space S4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from raydarts.spaces.base import Edge
from raydarts.spaces.cell_space import CellSpace
from raydarts.units import Nodes


class RobustS4(CellSpace):
    """Noise from N(0, 1), which ignores the input, or separable 3x3 convolution. Noise is never right."""

    NAME = "robust_s4"
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 3"
    LANES: ClassVar[bool] = True

    class Settings(CellSpace.Settings):
        nodes: Nodes = Field(4, ge=1, description="Intermediate nodes of a cell.")

    @property
    def num_nodes(self) -> int:
        return int(self.settings.nodes)

    def candidates(self, cell_type: str, edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
        return (("noise", "sep_conv_3x3"),) * len(edges)
