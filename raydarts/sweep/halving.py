"""Ray's ASHA, knowing trials by raydarts' ids, so that a resumed trial keeps its places in the rungs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler

from raydarts.streams import derived_seed


@dataclass(frozen=True)
class _Named:
    trial_id: str


def _named(trial: Any) -> Any:
    return _Named(str(trial.config["id"]))


class Halving(AsyncHyperBandScheduler):
    """A trial's bracket follows from the seed and its id; adding it a second time changes nothing."""

    def __init__(self, seed: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._seed = seed

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        name = _named(trial).trial_id
        if name in self._trial_info:
            return
        sizes = np.array([len(bracket._rungs) for bracket in self._brackets])
        weights = np.exp(sizes - sizes.max())
        generator = np.random.default_rng(derived_seed(self._seed, name))
        self._trial_info[name] = self._brackets[generator.choice(len(self._brackets), p=weights / weights.sum())]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(super().on_trial_result(tune_controller, _named(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _named(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._trial_info.pop(_named(trial).trial_id, None)
