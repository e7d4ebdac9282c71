"""Independent draws."""

from __future__ import annotations

import math
import random

from pydantic import Field

from raydarts import registry
from raydarts.config.distributions import Distribution, Draw
from raydarts.searchers.base import Searcher
from raydarts.units import Trials


class SeededChooser:
    """Each name of each trial draws from a generator of its own, so one more distribution moves no other's draws."""

    def __init__(self, seed: int, index: int) -> None:
        self._prefix = f"{seed}/{index}"

    def choose(self, name: str, distribution: Distribution) -> int | float:
        generator = random.Random(f"{self._prefix}/{name}")
        kind = distribution.kind
        if kind in ("choice", "grid"):
            return generator.randrange(len(distribution.options))
        low, high = distribution.low, distribution.high
        if kind == "randint":
            return generator.randint(int(low), int(high))
        if kind == "uniform":
            return generator.uniform(low, high)
        if kind == "loguniform":
            return min(max(math.exp(generator.uniform(math.log(low), math.log(high))), low), high)
        if kind == "quniform":
            steps = int((high - low) / distribution.q + 1e-9)
            return float(f"{low + generator.randint(0, steps) * distribution.q:.12g}")
        raise ValueError(f"{name}: unknown distribution {kind}")


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
