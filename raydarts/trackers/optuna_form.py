"""A sweep in Optuna's terms: distributions and parameters of a draw. The searcher `optuna` and the tracker use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from raydarts.config.distributions import AsDrawn, Tree
from raydarts.config.open_values import Axis, Distribution, Options, Value
from raydarts.json_types import Json

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def _as_optunas(distribution: Distribution, axis: Axis | None) -> BaseDistribution:
    """Returns Optuna's form of a range. Without one it is the labels of the options."""
    from optuna import distributions  # noqa: PLC0415 - only where it is asked for

    if axis is not None and axis.whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), step=int(axis.step or 1))
    if axis is not None:
        return distributions.FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
    if isinstance(distribution, Options):
        return distributions.CategoricalDistribution(list(distribution.labels))
    raise TypeError(f"{distribution} has no range and no options")


class Recorded:
    """A draw with Optuna's parameters and distributions, by the names of the settings.

    `searched`: as the searcher asks for them, where a parameter may be a place on the axis of a distribution. Else as
    people read them: the values themselves.
    """

    def __init__(self, search: Tree, choices: Mapping[str, Json], *, searched: bool) -> None:
        self._drawn = AsDrawn(choices)
        self._searched = searched
        self.params: dict[str, object] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        search.materialise(self)

    def choose(self, name: str, distribution: Distribution) -> Value:
        chosen = self._drawn.choose(name, distribution)
        axis = distribution.axis if self._searched else distribution.shown_axis
        self.distributions[name] = _as_optunas(distribution, axis)
        if axis is None and isinstance(distribution, Options):
            self.params[name] = distribution.labels[int(chosen)]
        else:
            self.params[name] = distribution.coordinate(chosen) if self._searched else chosen
        return chosen
