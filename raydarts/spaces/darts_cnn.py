"""The DARTS convolutional space (DARTS paper, section 3.1, appendix A)."""

from __future__ import annotations

from typing import ClassVar

from raydarts.genotypes.genotype import Genotype
from raydarts.spaces.cell_space import CELL_TYPES, UniformCells
from raydarts.spaces.primitives import STRIDED, is_strided

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


class DartsCnn(UniformCells):
    """The paper's convolutional cells: eight candidates, normal and reduction cells, four nodes, two inputs."""

    NAME = "darts-cnn"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055), section 3.1"
    LANES: ClassVar[bool] = True

    PRIMITIVES = PRIMITIVES

    def known_primitives(self) -> list[str]:
        return list(STRIDED)

    def owns(self, genotype: Genotype) -> bool:
        # Genotypes of other papers fit too, with primitives that this space does not search and any number of nodes.
        return set(genotype.cell_types) == set(CELL_TYPES) and all(
            is_strided(primitive) for _, cell in genotype.cells for primitive, _ in cell.edges()
        )
