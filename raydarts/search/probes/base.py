"""What a probe is: something measured once an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from raydarts.registry import Member
from raydarts.spaces import Genotype, Space


class Probe(Member):
    """Measures a search at the end of an epoch, and changes nothing (family `probe`).

    `METRICS` names what it reports; `*` stands for each cell type.
    """

    METRICS: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(self, space: Space, arch_weights: Mapping[str, Tensor], genotype: Genotype) -> dict[str, float | int]:
        """Flat metrics by name."""
