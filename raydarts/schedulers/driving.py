"""Drives a scheduler of Ray Tune's without Ray Tune: the object itself decides, on real `Trial`s, and nothing runs.

Ray Tune calls its schedulers from a controller that also starts and stops processes. `_Controller` stands in for it.
It keeps what the scheduler asks of it about other trials, which become decisions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from raydarts.schedulers.base import Horizon
from raydarts.study.history import Decision, Decisions, Report, name_of
from raydarts.study.scheduling import Verdict

logger = logging.getLogger("raydarts")
TIME = "epoch"
"""The key of a row by which schedulers of Ray Tune's measure time."""


class _Controller:
    """What Ray Tune's schedulers use of its `TuneController`."""

    search_alg = None

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
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


class Driven:
    """A `Decider` of one of Ray Tune's schedulers. Its time attribute must be `epoch`.

    `ahead`: the scheduler is shown all trials before any runs. A scheduler that forms groups of trials needs that, for
    its groups would otherwise hold only the trials that run side by side.
    """

    def __init__(self, scheduler: Any, horizon: Horizon, ahead: bool = False) -> None:
        self.scheduler = scheduler
        self._metric = horizon.metric
        self._ahead = ahead
        self._controller = _Controller(scheduler)
        self._stopped: set[str] = set()
        self._without: set[str] = set()

    def expect(self, total: int) -> None:
        if self._ahead:
            for index in range(total):
                trial = self._add(name_of(index), {})
                trial.set_status(trial.PENDING)

    def add(self, trial: str, config: Mapping[str, Any]) -> None:
        if trial not in self._controller.trials:
            self._add(trial, config)

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
            return Verdict(Decision.CONTINUE, {})
        answer = self.scheduler.on_trial_result(self._controller, trial, self._row(report))
        if answer == self.scheduler.PAUSE:
            trial.set_status(trial.PAUSED)
        elif answer == self.scheduler.STOP:
            self._stopped.add(report.trial)
        decision = {self.scheduler.STOP: Decision.STOP, self.scheduler.PAUSE: Decision.PAUSE}.get(answer)
        return Verdict(decision or Decision.CONTINUE, self._taken())

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
                "trial %s: its row gives no finite number of %s, so the scheduler lets it go on (sweep.objective "
                "names what trials are compared by)",
                trial,
                self._metric,
            )
