"""What can be searched: primitives, cells, supernets and discrete networks, genotypes."""

from raydarts.spaces.base import CellSpec, Edge, Space, space_of
from raydarts.spaces.genotype import CellGenotype, Genotype

__all__ = ["CellGenotype", "CellSpec", "Edge", "Genotype", "Space", "space_of"]
