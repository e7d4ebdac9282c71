"""A run's budget, kept while it runs: no trial starts and none goes on once it is spent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from raydarts.runs import hours
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.folders import jobs
from raydarts.study.budget import UNITS

_BEAT = 30.0  # seconds between two notes of a driver's being at work: as much a killed driver may leave uncounted


class BudgetSpentError(Exception):
    """The run halts: what is left of it waits for a larger budget."""


class Ledger:
    """Accounts of one driver. Epochs are charged when they end, so each running trial may exceed by one epoch."""

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock
        self._limits = hours.limits(run)
        self._token = uuid.uuid4().hex
        self._started = self._written = clock()
        self._earlier = hours.wall_hours(run)
        self._description = run.description()
        self._hours: dict[str, dict[str, float]] = {}
        self.denied = False
        """Whether a trial was refused its start or its next epoch."""
        if self._charges:
            for trial in jobs(run, self._description):
                self.charge(trial)
        self.beat(always=True)

    @property
    def _charges(self) -> bool:
        return "gpu_hours" in self._limits or "cpu_hours" in self._limits

    def charge(self, trial: TrialDirectory) -> None:
        """A trial has ended an epoch."""
        if self._charges:
            self._hours[str(trial.path)] = hours.hours_of(trial, self._description["spec"])
        self.beat()

    def beat(self, always: bool = False) -> None:
        """Note that this driver is at work."""
        now = self._clock()
        if always or now - self._written >= _BEAT:
            self._written = now
            hours.write_driver(self._run, self._token, self._started, now)

    def spent(self) -> dict[str, float]:
        """Hours of the limited units."""
        wall = self._earlier + (self._clock() - self._started) / 3600
        hours_spent = {"wall_hours": wall}
        for unit in ("gpu_hours", "cpu_hours"):
            hours_spent[unit] = sum(hours[unit] for hours in self._hours.values())
        return {unit: hours_spent[unit] for unit in self._limits}

    def in_words(self) -> str:
        """What of the budget is spent; empty without a budget."""
        return ", ".join(f"{hours:.4g} of {self._limits[unit]:g} {UNITS[unit]}" for unit, hours in self.spent().items())

    def over(self) -> str | None:
        """Why nothing may go on, or None."""
        gone = [unit for unit, hours in self.spent().items() if hours >= self._limits[unit]]
        return f"budget spent: {self.in_words()}" if gone else None

    def deny(self) -> str | None:
        """`over`, for a trial that would start or go on now: the run then counts as halted."""
        reason = self.over()
        self.denied = self.denied or reason is not None
        return reason

    def hint(self) -> str:
        """How to go on: the command with the budget's first limit that is spent."""
        gone = [unit for unit, hours in self.spent().items() if hours >= self._limits[unit]]
        more = " ".join(f"--set budget.{unit}=HOURS" for unit in gone)
        return f"raydarts resume {self._run.path} {more}"
