"""Optuna's TPE, define-by-run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from raydarts import registry
from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec
from raydarts.registry import Around, Idle
from raydarts.searchers.base import Outcome, Searcher


class _Chooser:
    """Asks Optuna; what hangs under an option that is not chosen is never asked for."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def choose(self, name: str, distribution: Any) -> Any:
        kind = distribution.kind
        if kind in ("choice", "grid"):
            labels = list(distribution.labels)
            return labels.index(self._trial.suggest_categorical(name, labels))
        low, high = distribution.low, distribution.high
        if kind == "randint":
            return self._trial.suggest_int(name, int(low), int(high))
        if kind == "quniform":
            return float(f"{self._trial.suggest_float(name, low, high, step=distribution.q):.12g}")
        return self._trial.suggest_float(name, low, high, log=kind == "loguniform")


class Optuna(Searcher):
    """Tree-structured Parzen estimators (multivariate, grouped), told the truth about stopped trials."""

    NAME = "optuna"
    SOURCE = "Bergstra et al. 2011, NeurIPS; Akiba et al. 2019, KDD (arXiv 1907.10902)"
    MODEL_BASED = True

    class Settings(registry.Settings):
        """`trials`: how many configurations; the first `startup_trials` are drawn at random."""

        trials: int = Field(20, ge=1)
        startup_trials: int = Field(10, ge=0)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        startup, trials = self.settings.startup_trials, self.settings.trials
        if startup >= trials:
            yield Idle(
                "startup_trials",
                f"is {startup} of {trials} trials: all are drawn at random, and Optuna's model proposes none; write "
                f"startup_trials: {trials // 2}, or searcher: {{name: random, trials: {trials}}}",
            )

    def start(self, loaded: LoadedSpec) -> None:
        import optuna  # noqa: PLC0415 - listing the searchers needs no Optuna

        super().start(loaded)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = optuna.samplers.TPESampler(
                multivariate=True,
                group=True,
                seed=loaded.sweep.seed,
                n_startup_trials=self.settings.startup_trials,
            )
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if loaded.sweep.mode == "max" else directions.MINIMIZE
        self._study = optuna.create_study(sampler=sampler, direction=direction)
        self._asked: dict[int, Any] = {}

    def total(self) -> int:
        return int(self.settings.trials)

    def propose(self, index: int) -> Draw | None:
        if index >= self.total():
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._asked[index] = self._study.ask()
            return self.loaded.search.materialise(_Chooser(self._asked[index]))

    def tell(self, index: int, outcome: Outcome) -> None:
        import optuna  # noqa: PLC0415

        states = optuna.trial.TrialState
        trial = self._asked[index]
        if outcome.status == "completed" and outcome.value is not None:
            self._study.tell(trial, outcome.value)
        elif outcome.status == "stopped":
            for epoch, value in outcome.reports:
                trial.report(value, epoch)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, state=states.FAIL)
