"""Optuna's samplers, define-by-run."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from raydarts import registry
from raydarts.config.distributions import Draw, Tree
from raydarts.config.loader import LoadedSpec
from raydarts.config.open_values import Distribution, Options, Value
from raydarts.registry import Around, Idle
from raydarts.searchers.base import Searcher
from raydarts.study.study import Outcome
from raydarts.trackers.optuna_form import Recorded
from raydarts.units import Trials

_NUMBERS_ALONE = ("cmaes", "qmc")
_LEAST_FOR_CMAES = 10
_EXCESSES = "excesses"
"""The key under which a trial of Optuna's keeps by how much it breaks each constraint."""


class _Chooser:
    """Asks Optuna; what hangs under an option that is not chosen is never asked for."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def choose(self, name: str, distribution: Distribution) -> Value:
        axis = distribution.axis
        if axis is None and isinstance(distribution, Options):
            labels = list(distribution.labels)
            return labels.index(self._trial.suggest_categorical(name, labels))
        if axis is None:
            raise TypeError(f"{name}: {distribution} has no range and no options")
        if axis.whole:
            return distribution.at(self._trial.suggest_int(name, int(axis.low), int(axis.high)))
        coordinate = self._trial.suggest_float(name, axis.low, axis.high, log=axis.log, step=axis.step)
        return distribution.at(coordinate)


class Optuna(Searcher):
    """One of Optuna's samplers, told the truth about stopped trials; by default multivariate, grouped TPE.

    Constraints are Optuna's own: a configuration that keeps them is before every other. With several objectives Optuna
    is told all of them (multi-objective TPE, NSGA-II, a Gaussian process for each). A healthy objective makes the
    health bars constraints then.
    """

    NAME = "optuna"
    SOURCE = "Akiba et al. 2019, KDD (arXiv 1907.10902); TPE: Bergstra et al. 2011, NeurIPS; NSGA-II: Deb et al. 2002"
    MODEL_BASED = True
    SEVERAL = True

    class Settings(registry.Settings):
        """`trials`: how many configurations. `sampler`: `tpe` (tree-structured Parzen estimators), `gp` (a Gaussian
        process), `cmaes` (evolution with an adapted covariance), `nsga2` (a genetic algorithm), or `qmc` (a scrambled
        Sobol sequence, which fits no model). The first `startup_trials` are drawn at random; of `nsga2` that is also
        the size of a generation.
        """

        trials: Trials = Field(20, ge=1, description="How many configurations are tried.")
        sampler: Literal["tpe", "gp", "cmaes", "nsga2", "qmc"] = Field(
            "tpe",
            description="Optuna's sampler: `tpe` (Parzen estimators), `gp` (a Gaussian process), `cmaes` (evolution "
            "with an adapted covariance), `nsga2` (a genetic algorithm), `qmc` (a Sobol sequence, which fits no "
            "model).",
        )
        startup_trials: Trials = Field(
            10,
            ge=0,
            description="How many of the first configurations are drawn at random. For `nsga2` it is also the "
            "size of a generation. Configurations of earlier runs count among them.",
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
        """`gp`, `cmaes` and `qmc` would draw at random, and say nothing, what they cannot handle."""
        sampler, dimensions = self.settings.sampler, tree.distributions()
        if sampler == "cmaes" and importlib.util.find_spec("cmaes") is None:
            yield "sampler cmaes needs the package cmaes, which is not installed: run pip install cmaes"
        conditional = [each.name for each in dimensions if each.condition is not None]
        if sampler in ("gp", *_NUMBERS_ALONE) and conditional:
            yield (
                f"sampler {sampler} handles no setting that only some configurations have ({conditional[0]}); write "
                "sampler: tpe or nsga2, or give every configuration the same settings"
            )
        choices = [each.name for each in dimensions if isinstance(each.distribution, Options)]
        if sampler in _NUMBERS_ALONE and choices:
            yield (
                f"sampler {sampler} handles numbers alone, and {choices[0]} is a choice; write sampler: tpe, gp or "
                "nsga2, or a distribution of numbers in its place"
            )
        elif sampler == "cmaes" and len(dimensions) < 2:
            yield (
                f"sampler cmaes adapts how settings vary together, and {len(dimensions)} is open; write sampler: tpe "
                "or gp, or leave two or more numbers open"
            )

    def refuses_objectives(self, names: Sequence[str]) -> str | None:
        if self.settings.sampler != "cmaes":
            return super().refuses_objectives(names)
        return (
            f"sampler cmaes learns from one number, and there are {len(names)} objectives ({', '.join(names)}); write "
            "sampler: nsga2, tpe or gp, or one objective"
        )

    def refuses_earlier(self, configurations: int | None = None) -> str | None:
        sampler = self.settings.sampler
        if sampler == "qmc":
            return "sampler qmc fits no model, so results of earlier runs would do nothing; leave from_runs out"
        if sampler == "nsga2":
            return (
                "sampler nsga2 crosses trials of its own generations alone, so results of earlier runs would do "
                "nothing; leave from_runs out, or write sampler: tpe or gp"
            )
        if sampler == "cmaes" and configurations is not None and configurations < _LEAST_FOR_CMAES:
            return (
                f"has {configurations} usable configurations, and sampler cmaes learns from the best tenth of "
                f"{_LEAST_FOR_CMAES} or more; leave from_runs out, or write sampler: tpe or gp"
            )
        return super().refuses_earlier(configurations)

    def start(self, loaded: LoadedSpec) -> None:
        super().start(loaded)
        score = loaded.sweep.score
        self._bars = len(score.excesses({}))
        self._in_full = score.several or self._bars > 0
        """Whether Optuna is told `Outcome.values` and constraints, and not one value in its finite form."""
        self._study = self._new_study()
        self._asked: dict[int, Any] = {}

    def _new_study(self, known: Sequence[Any] = ()) -> Any:
        """A study that has proposed nothing. `known`: earlier trials, as Optuna's."""
        import optuna  # noqa: PLC0415 - listing the searchers needs no Optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)  # what a sampler cannot handle was refused
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = self._sampler(optuna.samplers, self.loaded.sweep.seed, self.settings.startup_trials, known)
        ways = optuna.study.StudyDirection
        modes = [each.mode for each in self.loaded.sweep.score.each]
        return optuna.create_study(
            sampler=sampler, directions=[ways.MAXIMIZE if mode == "max" else ways.MINIMIZE for mode in modes]
        )

    def _excesses(self, trial: Any) -> Sequence[float]:
        """By how much a trial breaks each constraint. Of a trial that went on as a copy of another nobody knows it."""
        return tuple(trial.user_attrs.get(_EXCESSES, (0.0,) * self._bars))

    def _sampler(self, samplers: Any, seed: int, startup: int, known: Sequence[Any]) -> Any:
        held: dict[str, Any] = {"constraints_func": self._excesses} if self._bars else {}
        match self.settings.sampler:
            case "gp":
                # It estimates one noise from all values. Those of search seeds differ by luck alone.
                return samplers.GPSampler(seed=seed, n_startup_trials=startup, deterministic_objective=False, **held)
            case "cmaes":
                drawn = max(1, startup - len(known))  # Optuna learns from a trial of its own which numbers are open
                source = list(known) or None
                return samplers.CmaEsSampler(
                    seed=seed, n_startup_trials=drawn, source_trials=source, warn_independent_sampling=False
                )
            case "nsga2":
                return samplers.NSGAIISampler(seed=seed, population_size=startup, **held)
            case "qmc":
                return samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
        return samplers.TPESampler(multivariate=True, group=True, seed=seed, n_startup_trials=startup, **held)

    def learn(self, known: Sequence[tuple[Draw, float]]) -> None:
        """CMA-ES begins at the best tenth of them. The other models count them as trials."""
        import optuna  # noqa: PLC0415

        trials = []
        for draw, value in known:
            recorder = self._recorded(draw)
            trials.append(
                optuna.trial.create_trial(params=recorder.params, distributions=recorder.distributions, value=value)
            )
        if self.settings.sampler == "cmaes":
            self._study = self._new_study(trials)
        else:
            self._study.add_trials(trials)

    def recall(self, known: Sequence[tuple[Draw, Outcome]]) -> None:
        """With constraints or several objectives each is asked for and told like a trial of this sweep, so that Optuna
        itself takes in how its constraints were kept."""
        if not self._in_full or self.settings.sampler == "cmaes":  # which takes no constraints, but the finite form
            super().recall(known)
            return
        for draw, outcome in known:
            self._study.enqueue_trial(self._recorded(draw).params)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trial = self._study.ask()
                self.loaded.search.materialise(_Chooser(trial))
            self._tell(trial, outcome)

    def accept(self, index: int, draw: Draw) -> None:
        self._study.enqueue_trial(self._recorded(draw).params)
        self._ask(index)

    def _recorded(self, draw: Draw) -> Recorded:
        return Recorded(self.loaded.search, draw.choices, searched=True)

    def total(self) -> int:
        return int(self.settings.trials)

    def propose(self, index: int) -> Draw | None:
        return None if index >= self.total() else self._ask(index)

    def _ask(self, index: int) -> Draw:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._asked[index] = self._study.ask()
            return self.loaded.search.materialise(_Chooser(self._asked[index]))

    def tell(self, index: int, outcome: Outcome) -> None:
        self._tell(self._asked[index], outcome)

    def _tell(self, trial: Any, outcome: Outcome) -> None:
        import optuna  # noqa: PLC0415

        states = optuna.trial.TrialState
        several = self.loaded.sweep.score.several
        if outcome.noise is not None:  # no sampler reads it: each takes the value for what the configuration is worth
            trial.set_user_attr("search_seeds", outcome.n)
            trial.set_user_attr("noise", outcome.noise)
        if outcome.excesses:
            trial.set_user_attr(_EXCESSES, list(outcome.excesses))
        values = self._values(outcome)
        if outcome.status == "completed" and values is not None:
            self._study.tell(trial, values)
        elif outcome.status == "stopped":
            # Without any it is the worst of those that were stopped. Optuna has no reports of several objectives.
            reports = () if outcome.halted or several else outcome.reports
            for epoch, value in reports:
                trial.report(value, epoch)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, state=states.FAIL)

    def _values(self, outcome: Outcome) -> Sequence[float] | None:
        """What Optuna is told of a completed trial: a number for each objective."""
        if self._in_full and self.settings.sampler != "cmaes":
            return outcome.values
        return None if outcome.value is None else (outcome.value,)
