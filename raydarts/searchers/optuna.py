"""Optuna's samplers, define-by-run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from raydarts import registry
from raydarts.config.distributions import Draw, Tree
from raydarts.config.loader import LoadedSpec
from raydarts.registry import Around, Idle
from raydarts.searchers.base import Searcher
from raydarts.study.study import Outcome
from raydarts.units import Trials


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
    """One of Optuna's samplers, told the truth about stopped trials; by default multivariate, grouped TPE."""

    NAME = "optuna"
    SOURCE = "Akiba et al. 2019, KDD (arXiv 1907.10902); TPE: Bergstra et al. 2011, NeurIPS; NSGA-II: Deb et al. 2002"
    MODEL_BASED = True

    class Settings(registry.Settings):
        """`trials`: how many configurations. `sampler`: `tpe` (tree-structured Parzen estimators), `gp` (a Gaussian
        process), `nsga2` (a genetic algorithm), or `qmc` (a scrambled Sobol sequence, which fits no model). The first
        `startup_trials` are drawn at random; of `nsga2` that is also the size of a generation.
        """

        trials: Trials = Field(20, ge=1, description="How many configurations are tried.")
        sampler: Literal["tpe", "gp", "nsga2", "qmc"] = Field(
            "tpe",
            description="Optuna's sampler: `tpe` (Parzen estimators), `gp` (a Gaussian process), `nsga2` (a "
            "genetic algorithm), `qmc` (a Sobol sequence, which fits no model).",
        )
        startup_trials: Trials = Field(
            10,
            ge=0,
            description="How many of the first configurations are drawn at random. For `nsga2` it is also the "
            "size of a generation.",
        )

        @model_validator(mode="after")
        def _a_generation_of_two(self) -> Self:
            if self.sampler == "nsga2" and self.startup_trials < 2:
                raise ValueError(
                    f"startup_trials is {self.startup_trials}, and nsga2 crosses the trials of a generation of that "
                    "size with one another; allowed: 2 or more"
                )
            return self

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        startup, trials, sampler = self.settings.startup_trials, self.settings.trials, self.settings.sampler
        if sampler == "qmc":
            if self.settings.written("startup_trials"):
                yield Idle("startup_trials", "does nothing with sampler qmc, which fits no model; leave it out")
        elif startup >= trials:
            yield Idle(
                "startup_trials",
                f"is {startup} of {trials} trials: all are drawn at random, and Optuna's model proposes none; write "
                f"startup_trials: {trials // 2}, or searcher: {{name: random, trials: {trials}}}",
            )

    def refusals(self, tree: Tree) -> Iterator[str]:
        """`gp` and `qmc` would draw at random, and say nothing, what they cannot handle."""
        sampler, dimensions = self.settings.sampler, tree.distributions()
        conditional = [each.name for each in dimensions if each.condition is not None]
        if sampler in ("gp", "qmc") and conditional:
            yield (
                f"sampler {sampler} handles no setting that only some configurations have ({conditional[0]}); write "
                "sampler: tpe or nsga2, or give every configuration the same settings"
            )
        choices = [each.name for each in dimensions if each.distribution.kind in ("choice", "grid")]
        if sampler == "qmc" and choices:
            yield (
                f"sampler qmc handles numbers alone, and {choices[0]} is a choice; write sampler: tpe, gp or nsga2, "
                "or a distribution of numbers in its place"
            )

    def start(self, loaded: LoadedSpec) -> None:
        import optuna  # noqa: PLC0415 - listing the searchers needs no Optuna

        super().start(loaded)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # what a sampler cannot handle was refused
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = self._sampler(optuna.samplers, loaded.sweep.seed, self.settings.startup_trials)
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if loaded.sweep.score.mode == "max" else directions.MINIMIZE
        self._study = optuna.create_study(sampler=sampler, direction=direction)
        self._asked: dict[int, Any] = {}

    def _sampler(self, samplers: Any, seed: int, startup: int) -> Any:
        match self.settings.sampler:
            case "gp":
                # It estimates one noise from all values. Those of search seeds differ by luck alone.
                return samplers.GPSampler(seed=seed, n_startup_trials=startup, deterministic_objective=False)
            case "nsga2":
                return samplers.NSGAIISampler(seed=seed, population_size=startup)
            case "qmc":
                return samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
        return samplers.TPESampler(multivariate=True, group=True, seed=seed, n_startup_trials=startup)

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
        if outcome.noise is not None:  # no sampler reads it: each takes the value for what the configuration is worth
            trial.set_user_attr("search_seeds", outcome.n)
            trial.set_user_attr("noise", outcome.noise)
        if outcome.status == "completed" and outcome.value is not None:
            self._study.tell(trial, outcome.value)
        elif outcome.status == "stopped":
            reports = (
                () if outcome.halted else outcome.reports
            )  # without any it is the worst of those that were stopped
            for epoch, value in reports:
                trial.report(value, epoch)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, state=states.FAIL)
