"""What can be searched: primitives, cells, supernets and discrete networks, genotypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raydarts.genotypes.genotype import CellGenotype, Genotype

if TYPE_CHECKING:
    from raydarts.spaces.base import CellSpec, Edge, Space, space_of

__all__ = ["CellGenotype", "CellSpec", "Edge", "Genotype", "Space", "space_of"]


def __getattr__(name: str) -> object:
    # Spaces load torch, which whoever only reads genotypes does not need: a trial's process waits for it, 270 MB of it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from raydarts.spaces import base  # noqa: PLC0415

    return getattr(base, name)
