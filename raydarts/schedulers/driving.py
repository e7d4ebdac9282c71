"""Drives a scheduler of Ray Tune's without Ray Tune: the object itself decides, on real `Trial`s, and nothing runs.

Ray Tune calls its schedulers from a controller that also starts and stops processes. `_Controller` stands in for it.
It keeps what the scheduler asks of it about other trials, which become decisions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raydarts.schedulers.base import Horizon
from raydarts.schedulers.perturbing import Perturbed
from raydarts.study.history import Decision, Decisions, Fork, Parent, Report, name_of
from raydarts.study.scheduling import Verdict

logger = logging.getLogger("raydarts")
TIME = "epoch"
"""The key of a row by which schedulers of Ray Tune's measure time."""


class _Controller:
    """What Ray Tune's schedulers use of its `TuneController`."""

    search_alg = None

    def __init__(self, scheduler: Any, perturbed: Perturbed | None) -> None:
        self._scheduler = scheduler
        self.perturbed = perturbed
        self.settings: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        """The configuration and the choices that each trial has now."""
        self.trials: dict[str, Any] = {}
        self.others: Decisions = {}

    def get_trials(self) -> list[Any]:
        return list(self.trials.values())

    def get_live_trials(self) -> set[Any]:
        return {trial for trial in self.trials.values() if not trial.is_finished()}

    def stop_trial(self, trial: Any) -> None:
        """The scheduler stops a trial that waits."""
        if not trial.is_finished():
            self.others[trial.trial_id] = Decision.STOP
            self._scheduler.on_trial_remove(self, trial)
            trial.set_status(trial.TERMINATED)

    def release(self, trial: Any) -> None:
        """The scheduler lets a trial that waits go on."""
        self.others[trial.trial_id] = Decision.CONTINUE
        trial.set_status(trial.PENDING)

    def fork(self, trial: Any, parent: Parent) -> None:
        """The scheduler lets a trial go on from another's checkpoint, with the settings that it gave the trial."""
        if self.perturbed is None:
            raise TypeError("a scheduler that changes no settings makes no copies")
        config, choices = self.perturbed.applied(*self.settings[parent.trial], trial.config)
        self.others[trial.trial_id] = Fork(parent.trial, parent.epoch, config, choices)
        trial.set_status(trial.PENDING)

    def _schedule_trial_save(self, trial: Any, result: Mapping[str, Any]) -> Parent:
        """A scheduler of Ray Tune's that wants a checkpoint gets a pointer to raydarts' own."""
        return Parent(trial.trial_id, int(result[TIME]))

    def pause_trial(self, trial: Any, should_checkpoint: bool) -> None:
        trial.set_status(trial.PAUSED)


class Driven:
    """A `Decider` of one of Ray Tune's schedulers. Its time attribute must be `epoch`.

    `ahead`: the scheduler is shown all trials before any runs. A scheduler that forms groups of trials needs that, for
    its groups would otherwise hold only the trials that run side by side.

    `perturbed`: the settings that the scheduler may change. They are all that it sees of a trial's. None: it sees the
    whole configuration, and changes none. `missing`: what a report without a value counts as. None: such a report is
    not shown to the scheduler, and its trial goes on.
    """

    def __init__(
        self,
        scheduler: Any,
        horizon: Horizon,
        ahead: bool = False,
        perturbed: Perturbed | None = None,
        missing: float | None = None,
    ) -> None:
        self.scheduler = scheduler
        self._metric = horizon.metric
        self._ahead = ahead
        self._perturbed = perturbed
        self._missing = missing
        self._controller = _Controller(scheduler, perturbed)
        self._stopped: set[str] = set()
        self._without: set[str] = set()

    def expect(self, total: int) -> None:
        if self._ahead:
            for index in range(total):
                trial = self._add(name_of(index), self._seen({}, {}))
                trial.set_status(trial.PENDING)

    def add(self, trial: str, config: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
        self._controller.settings[trial] = (config, choices)
        seen = self._seen(config, choices)
        if trial in self._controller.trials:
            self._controller.trials[trial].set_config(seen)
        else:
            self._add(trial, seen)

    def _seen(self, config: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
        """What the scheduler sees of a trial's settings."""
        return dict(config) if self._perturbed is None else self._perturbed.values(choices)

    def _add(self, name: str, config: Mapping[str, Any]) -> Any:
        from ray.tune.experiment import Trial  # noqa: PLC0415 - listing the schedulers needs no Ray

        trial: Any = Trial("raydarts", trial_id=name, config=dict(config), stub=True)
        trial.set_status(Trial.RUNNING)
        self._controller.trials[name] = trial
        self.scheduler.on_trial_add(self._controller, trial)
        return trial

    def decide(self, report: Report) -> Verdict:
        trial = self._controller.trials[report.trial]
        if trial.is_finished() or report.trial in self._stopped:
            return Verdict(Decision.CONTINUE, {})  # the scheduler would have stopped it; what is recorded counts
        trial.set_status(trial.RUNNING)
        if report.value is None:
            self._warn(report.trial)
            if self._missing is None:
                return Verdict(Decision.CONTINUE, {})
            report = replace(report, value=self._missing)
        answer = self.scheduler.on_trial_result(self._controller, trial, self._row(report))
        others = self._taken()
        if (forced := others.pop(report.trial, None)) is not None:
            return Verdict(forced, others)
        if answer == self.scheduler.PAUSE:
            trial.set_status(trial.PAUSED)
        elif answer == self.scheduler.STOP:
            self._stopped.add(report.trial)
        decision = {self.scheduler.STOP: Decision.STOP, self.scheduler.PAUSE: Decision.PAUSE}.get(answer)
        return Verdict(decision or Decision.CONTINUE, others)

    def ended(self, trial: str, last: Report | None) -> Decisions:
        one = self._controller.trials[trial]
        if one.is_finished():
            return {}
        if one.status != one.RUNNING:
            self.scheduler.on_trial_remove(self._controller, one)
        elif last is None or last.value is None:
            self.scheduler.on_trial_error(self._controller, one)
        else:
            self.scheduler.on_trial_complete(self._controller, one, self._row(last))
        one.set_status(one.TERMINATED)
        return self._taken()

    def _row(self, report: Report) -> dict[str, Any]:
        return {TIME: report.epoch, self._metric: report.value}

    def _taken(self) -> Decisions:
        taken, self._controller.others = self._controller.others, {}
        return dict(sorted(taken.items()))

    def _warn(self, trial: str) -> None:
        if trial not in self._without:
            self._without.add(trial)
            logger.warning(
                "trial %s: its row gives no finite number of %s, so the scheduler %s (sweep.objective names "
                "what trials are compared by)",
                trial,
                self._metric,
                "lets it go on" if self._missing is None else "takes it for the worst",
            )
