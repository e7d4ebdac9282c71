"""RobustDARTS' spaces S1 to S4: few candidates, among which DARTS goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from raydarts.spaces.base import Edge
from raydarts.spaces.cell_space import CellSpace, UniformCells

SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 3"
# S1: edge (src, dst) -> its two candidates, columns of alpha in this order.
_MAX, _AVG, _SKIP = "max_pool_3x3", "avg_pool_3x3", "skip_connect"
_SEP3, _DIL3, _DIL5 = "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"
NORMAL = {
    (0, 2): (_SKIP, _DIL3),
    (1, 2): (_SKIP, _DIL5),
    (0, 3): (_SKIP, _DIL5),
    (1, 3): (_SKIP, _SEP3),
    (2, 3): (_SKIP, _DIL3),
    (0, 4): (_MAX, _SKIP),
    (1, 4): (_SKIP, _SEP3),
    (2, 4): (_SKIP, _SEP3),
    (3, 4): (_SKIP, _DIL3),
    (0, 5): (_SKIP, _SEP3),
    (1, 5): (_MAX, _SKIP),
    (2, 5): (_SKIP, _DIL3),
    (3, 5): (_DIL3, _DIL5),
    (4, 5): (_DIL3, _DIL5),
}
REDUCE = {
    (0, 2): (_MAX, _AVG),
    (1, 2): (_MAX, _DIL3),
    (0, 3): (_MAX, _AVG),
    (1, 3): (_MAX, _AVG),
    (2, 3): (_SKIP, _DIL5),
    (0, 4): (_MAX, _AVG),
    (1, 4): (_MAX, _SEP3),
    (2, 4): (_SKIP, _DIL3),
    (3, 4): (_SKIP, _DIL5),
    (0, 5): (_MAX, _AVG),
    (1, 5): (_MAX, _AVG),
    (2, 5): (_SKIP, _DIL5),
    (3, 5): (_SKIP, _DIL5),
    (4, 5): (_SKIP, _DIL5),
}


class RobustS1(CellSpace):
    """Two candidates on each edge: the two that DARTS ranked highest there. Edges differ."""

    NAME = "robust_s1"
    SOURCE = f"{SOURCE}; each edge as in the authors' code"
    LANES: ClassVar[bool] = True

    def candidates(self, cell_type: str, edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
        table = NORMAL if cell_type == "normal" else REDUCE
        return tuple(table[edge] for edge in edges)


class RobustS2(UniformCells):
    """Skip connection or separable 3x3 convolution on every edge. Here DARTS collapses most clearly."""

    NAME = "robust_s2"
    SOURCE = SOURCE
    LANES: ClassVar[bool] = True
    PRIMITIVES = ("skip_connect", "sep_conv_3x3")


class RobustS3(UniformCells):
    """Skip connection, separable 3x3 convolution or `none` on every edge."""

    NAME = "robust_s3"
    SOURCE = SOURCE
    LANES: ClassVar[bool] = True
    PRIMITIVES = ("none", "skip_connect", "sep_conv_3x3")


class RobustS4(UniformCells):
    """Noise from N(0, 1), which ignores the input, or separable 3x3 convolution. Noise is never right."""

    NAME = "robust_s4"
    SOURCE = SOURCE
    LANES: ClassVar[bool] = True
    PRIMITIVES = ("noise", "sep_conv_3x3")
