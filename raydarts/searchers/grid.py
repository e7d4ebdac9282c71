"""Every combination once."""

from __future__ import annotations

from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec
from raydarts.searchers.base import Searcher


class Grid(Searcher):
    """Every combination of the choices and grids, equal ones once, in the order of the YAML; `sweep.points` first."""

    NAME = "grid"
    SOURCE = "exhaustive"
    EXHAUSTIVE = True

    def start(self, loaded: LoadedSpec) -> None:
        from raydarts.config.loader import unique_grid  # noqa: PLC0415 - config itself asks for this family's settings

        super().start(loaded)
        self._draws = unique_grid(loaded)

    def total(self) -> int:
        return len(self._draws)

    def accept(self, index: int, draw: Draw) -> None:
        """The configuration moves to the front: it is not tried a second time."""
        from raydarts.config.loader import effective_key  # noqa: PLC0415

        key = effective_key(self.loaded.settings_of(draw))
        self._draws = [each for each in self._draws if effective_key(self.loaded.settings_of(each)) != key]
        self._draws.insert(index, draw)

    def propose(self, index: int) -> Draw | None:
        return self._draws[index] if index < len(self._draws) else None
