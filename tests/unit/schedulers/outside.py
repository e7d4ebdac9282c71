"""A scheduler of the user's own, which is none of Ray Tune's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raydarts import registry
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.study.history import Decision, Decisions, Report
from raydarts.study.scheduling import Verdict


class Threshold(Scheduler):
    """A trial that is below `least` after its second epoch is stopped."""

    NAME = "threshold"
    SOURCE = "an example"

    class Settings(registry.Settings):
        """`least`: what the metric must be."""

        least: float = 0.3

    def build(self, horizon: Horizon) -> Threshold:
        return self

    def expect(self, total: int) -> None:
        """It needs no number of trials."""

    def add(self, trial: str, config: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
        """It looks at reports alone."""

    def decide(self, report: Report) -> Verdict:
        below = report.epoch == 2 and report.value is not None and report.value < self.settings.least
        return Verdict(Decision.STOP if below else Decision.CONTINUE, {})

    def ended(self, trial: str, last: Report | None) -> Decisions:
        return {}
