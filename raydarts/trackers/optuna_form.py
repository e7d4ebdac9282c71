"""A sweep in Optuna's terms: distributions and parameters of a draw. The searcher `optuna` and the tracker use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from raydarts.config.distributions import OPTIONS, AsDrawn, Distribution, Tree
from raydarts.json_types import Json

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def as_optunas(distribution: Distribution) -> BaseDistribution:
    """Returns Optuna's form of a distribution. Options are their labels."""
    from optuna import distributions  # noqa: PLC0415 - only where it is asked for

    low, high, kind = distribution.low, distribution.high, distribution.kind
    if kind in OPTIONS:
        return distributions.CategoricalDistribution(list(distribution.labels))
    if kind == "randint":
        return distributions.IntDistribution(int(low), int(high))
    step = distribution.q if kind == "quniform" else None
    return distributions.FloatDistribution(low, high, log=kind == "loguniform", step=step)


class Recorded:
    """A draw with Optuna's parameters and distributions, by the names of the settings."""

    def __init__(self, search: Tree, choices: Mapping[str, Json]) -> None:
        self._drawn = AsDrawn(choices)
        self.params: dict[str, object] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        search.materialise(self)

    def choose(self, name: str, distribution: Distribution) -> int | float:
        chosen: int | float = self._drawn.choose(name, distribution)
        self.distributions[name] = as_optunas(distribution)
        self.params[name] = distribution.labels[int(chosen)] if distribution.kind in OPTIONS else chosen
        return chosen
