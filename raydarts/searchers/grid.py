"""Every combination once."""

from __future__ import annotations

from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec
from raydarts.searchers.base import Searcher


class Grid(Searcher):
    """Every combination of the choices and grids, equal ones once, in the order of the YAML."""

    NAME = "grid"
    SOURCE = "exhaustive"
    EXHAUSTIVE = True

    def start(self, loaded: LoadedSpec) -> None:
        from raydarts.config.loader import unique_grid  # noqa: PLC0415 - config itself asks for this family's settings

        super().start(loaded)
        self._draws = unique_grid(loaded)

    def total(self) -> int:
        return len(self._draws)

    def propose(self, index: int) -> Draw | None:
        return self._draws[index] if index < len(self._draws) else None
