"""What a study asks of a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from raydarts.study.history import Decided, Decisions, Report


class Verdict(NamedTuple):
    """The decision on the trial that reported, and those on others, which wait: they go on, are forked or stopped."""

    decision: Decided
    others: Decisions


class Decider(Protocol):
    """A scheduler at work in one run.

    It is called in the order of the events. A driver that takes over a run makes a new one, and calls it with the
    same reports in the same order. The recorded decisions count then, not its answers.
    """

    def expect(self, total: int) -> None:
        """The study comes to at most `total` trials, named `0000`, `0001`, ... This is called first."""

    def add(self, trial: str, config: Mapping[str, object], choices: Mapping[str, object]) -> None:
        """A trial was asked for, or it goes on with these settings after a fork. `choices`: those that are swept."""

    def decide(self, report: Report) -> Verdict:
        """What follows from a trial's report."""

    def ended(self, trial: str, last: Report | None) -> Decisions:
        """A trial has ended. `last`: its last report, None where it made none. Returns decisions on others that wait.

        The report may be one that `decide` was shown, or the one of the trial's last epoch, which it was not shown.
        """
