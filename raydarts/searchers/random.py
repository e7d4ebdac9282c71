"""Independent draws."""

from __future__ import annotations

import random

from pydantic import Field

from raydarts import registry
from raydarts.config.distributions import Draw
from raydarts.config.open_values import Distribution, Value
from raydarts.searchers.base import Searcher
from raydarts.units import Trials


class SeededChooser:
    """Each name of each trial draws from a generator of its own, so one more distribution moves no other's draws."""

    def __init__(self, seed: int, index: int) -> None:
        self._prefix = f"{seed}/{index}"

    def choose(self, name: str, distribution: Distribution) -> Value:
        return distribution.draw(random.Random(f"{self._prefix}/{name}"))


class Random(Searcher):
    """Independent draws; trial i depends on the sweep's seed and i alone."""

    NAME = "random"
    SOURCE = "Bergstra & Bengio 2012, JMLR 13"

    class Settings(registry.Settings):
        """`trials`: how many configurations are drawn."""

        trials: Trials = Field(20, ge=1, description="How many configurations are drawn.")

    def total(self) -> int:
        return int(self.settings.trials)

    def propose(self, index: int) -> Draw | None:
        if index >= self.total():
            return None
        return self.loaded.search.materialise(SeededChooser(self.loaded.sweep.seed, index))
