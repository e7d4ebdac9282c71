"""Population based training: bad trials go on as copies of good ones, with changed settings."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raydarts import registry
from raydarts.config.distributions import Tree
from raydarts.registry import Around, Idle, nearest
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.schedulers.driving import TIME, Driven
from raydarts.schedulers.perturbing import Perturbed, chosen, why_fixed
from raydarts.streams import derived_seed
from raydarts.study.scheduling import Decider
from raydarts.units import Epochs

if TYPE_CHECKING:
    from raydarts.config.spec import SweepSettings


class PopulationBased(Scheduler):
    """All trials wait for one another every few epochs. Then the worst go on as changed copies of the best.

    A copy has the weights, alpha, optimizer states and random streams of the trial it was made from.
    """

    NAME = "pbt"
    SOURCE = "Jaderberg et al. 2017 (arXiv 1711.09846), synchronous; Ray Tune PopulationBasedTraining"
    PAUSES = True
    FORKS = True

    class Settings(registry.Settings):
        """`perturb` empty: every swept setting that may change while a search goes on."""

        every: Epochs = Field(5, ge=1, description="Epochs from one meeting of all trials to the next.")
        burn_in: Epochs = Field(0, ge=0, description="There is no meeting before so many epochs.")
        quantile: float = Field(
            0.25,
            gt=0,
            le=0.5,
            description="This share of the trials, the worst, is replaced by copies of as many best.",
        )
        resample: float = Field(
            0.25, ge=0, le=1, description="Probability that a setting is drawn anew, and not changed a little."
        )
        factors: tuple[float, float] = Field(
            (1.2, 0.8),
            description="A number of a range is multiplied by one of these. A value of a list gives way to the next.",
        )
        perturb: tuple[str, ...] = Field(
            (),
            description="Names of swept settings, as `raydarts validate` shows them. `[]` is all that may change while"
            " a search goes on.",
        )

    @property
    def draws(self) -> bool:
        return True

    @property
    def _first(self) -> int:
        """The epoch of the first meeting."""
        return int(max(self.settings.every, self.settings.burn_in))

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.jobs == 1:
            yield Idle("", "compares trials with one another, and there is 1; write scheduler: fifo")
        if self._first >= around.epochs:
            key = "every" if self.settings.every >= self.settings.burn_in else "burn_in"
            yield Idle(
                key,
                f"is {self._first}, and trials run at most {around.epochs} epochs: they never meet; lower {key}, or "
                "write scheduler: fifo",
            )
        elif getattr(around.section.searcher.member, "MODEL_BASED", False):
            yield Idle(
                "",
                f"needs all trials before any of them ends, so searcher {around.section.searcher.name} proposes none "
                "by a model of results; write searcher: {name: random, trials: ...}",
            )
        if self.settings.written("burn_in") and 0 < self.settings.burn_in <= self.settings.every:
            yield Idle("burn_in", f"is no more than every {self.settings.every}, before which none meet; leave it out")

    def refusals(self, search: Tree, sweep: SweepSettings) -> Iterator[tuple[str, str]]:
        yield from super().refusals(search, sweep)
        swept = search.distributions()
        fixed = {each.name: why_fixed(search, each) for each in swept}
        allowed = [name for name, why in fixed.items() if why is None]
        listed = f"allowed here: {', '.join(allowed)}" if allowed else "no swept setting of this search may"
        for number, name in enumerate(self.settings.perturb):
            if name not in fixed:
                yield f"perturb.{number}", f"'{name}' is no swept setting of search{nearest(name, allowed)} ({listed})"
            elif name not in allowed:
                yield (
                    f"perturb.{number}",
                    f"{name} cannot change while a search goes on: {fixed[name]} ({listed}); leave it out of perturb: "
                    "each trial then keeps its own value",
                )
        if not allowed and not self.settings.perturb:
            yield (
                "",
                "pbt changes swept settings while trials run, and no swept setting of this search may change then; "
                "sweep one that may (a learning rate, a weight decay, xi, epsilon, a regularizer's strength), or write "
                "another scheduler",
            )
        kept = sweep.checkpoint_every
        for key, epochs in (("every", self.settings.every), ("burn_in", self._first)):
            if epochs % kept:
                yield (
                    key,
                    f"trials meet after {epochs} epochs, and a copy needs a checkpoint of that epoch, but "
                    f"sweep.checkpoint_every is {kept}; write checkpoint_every: 1, or a multiple of it here",
                )
                break

    def changes(self, search: Tree) -> tuple[str, ...]:
        return tuple(each.name for each in chosen(search, self.settings.perturb))

    def build(self, horizon: Horizon) -> Decider:
        from ray.tune.schedulers import PopulationBasedTraining  # noqa: PLC0415 - listing needs no Ray

        if horizon.search is None:
            raise ValueError("pbt needs to know what the trials' settings are drawn from")
        logging.getLogger("ray.tune.schedulers.pbt").setLevel(logging.WARNING)  # raydarts tells of forks itself
        perturbed = Perturbed(horizon.search, chosen(horizon.search, self.settings.perturb))

        class Population(PopulationBasedTraining):
            """Says which trials it lets go on, and from where. Draws by the seed, the trial and the epoch.

            Tune's own waits for a trial that has ended until another one reports.
            """

            def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
                before = self._next_perturbation_sync
                answer = str(super().on_trial_result(tune_controller, trial, result))
                if self._next_perturbation_sync == before:
                    return answer
                for each in tune_controller.get_trials():  # they have met
                    if each.status == each.PAUSED:
                        tune_controller.release(each)
                return str(self.CONTINUE)

            def _checkpoint_or_exploit(self, trial: Any, tune_controller: Any, upper: Any, lower: Any) -> None:
                if trial.is_finished():
                    return
                waited, state = trial.status, random.getstate()
                trial.set_status(trial.RUNNING)  # of a trial that runs Tune asks for the checkpoint it is to copy
                random.seed(derived_seed(horizon.seed, f"{trial.trial_id}/{self._trial_state[trial].last_train_time}"))
                try:
                    super()._checkpoint_or_exploit(trial, tune_controller, upper, lower)
                finally:
                    random.setstate(state)
                if trial.status == trial.RUNNING:
                    trial.set_status(waited)

            def _exploit(self, tune_controller: Any, trial: Any, trial_to_clone: Any) -> None:
                states = (self._trial_state[each] for each in (trial, trial_to_clone))
                if len({state.last_train_time for state in states}) > 1:
                    return  # a trial only goes on from an epoch that it has run itself
                super()._exploit(tune_controller, trial, trial_to_clone)
                tune_controller.fork(trial, trial.checkpoint)

            def _leave(self, tune_controller: Any, trial: Any) -> None:
                """The others wait for this trial no longer."""
                trial.set_status(trial.TERMINATED)
                waiting = [each for each in tune_controller.get_trials() if each.status == each.PAUSED]
                if waiting:
                    last: Any = self._trial_state[waiting[0]].last_result
                    self.on_trial_result(tune_controller, waiting[0], last)

            def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
                self._leave(tune_controller, trial)

            def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
                self._leave(tune_controller, trial)

            def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
                self._leave(tune_controller, trial)

        scheduler = Population(
            time_attr=TIME,
            metric=horizon.metric,
            mode=horizon.mode,
            perturbation_interval=self.settings.every,
            burn_in_period=self.settings.burn_in,
            hyperparam_mutations={**perturbed.mutations()},
            quantile_fraction=self.settings.quantile,
            resample_probability=self.settings.resample,
            perturbation_factors=self.settings.factors,
            custom_explore_fn=perturbed.inside,
            log_config=False,
            synch=True,
        )
        worst = -math.inf if horizon.mode == "max" else math.inf
        return Driven(scheduler, horizon, ahead=True, perturbed=perturbed, missing=worst)
