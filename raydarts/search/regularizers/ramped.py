"""What penalties share if their strength changes over the search."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from raydarts import registry
from raydarts.search.moments import Moment
from raydarts.search.ramps import ramped
from raydarts.search.regularizers.base import Alphas, Regularizer


class RampedPenalty(Regularizer):
    """Adds strength * ramp(epoch) * `term` to the loss that alpha descends.

    Its settings have `strength` and `ramp`.
    """

    NEUTRAL = {"strength": 0.0}

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._weight = 0.0

    @abstractmethod
    def term(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        """Returns the penalty at strength 1, a scalar, or None if there is nothing to penalise."""

    @property
    def from_zero(self) -> bool:
        return bool(self.settings.ramp == "linear")

    def on_epoch_start(self, now: Moment) -> None:
        self._weight = self.settings.strength * ramped(self.settings.ramp, now)

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        term = None if self._weight == 0.0 else self.term(alphas, arch_weights)
        return None if term is None else self._weight * term
