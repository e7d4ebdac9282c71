"""What a probe is: a measurement once an epoch."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from raydarts.registry import Member
from raydarts.search.moments import EpochReport
from raydarts.states import State


class Probe(Member):
    """Measures a search at the end of each epoch and changes nothing (family `probe`).

    `METRICS` names the metrics it reports. `*` stands for each cell type.
    """

    METRICS: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(self, report: EpochReport) -> dict[str, float | int | None]:
        """Returns the metrics by name."""

    def needs_eigenvalue(self, epoch: int) -> bool:
        """Returns whether `measure` asks for the eigenvalue after this epoch (from 1). A group then computes those of
        its lanes together.
        """
        return False

    def state_dict(self) -> State:
        """Returns everything that it remembers between epochs."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restores what `state_dict()` returned."""
