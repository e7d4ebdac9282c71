"""Replicates: each configuration is searched once with each of several search seeds.

A study runs trials. Its searcher and its scheduler see configurations. `Replicates` stands between them: to the study
it is the searcher and the scheduler of trials, and it asks the real ones about configurations. So a lucky seed is
neither learned by a model nor kept by a scheduler.

Trial `configuration * R + r` is replicate `r` of `R`. The trials of a configuration come before the next configuration.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from raydarts.study.history import Decided, Decision, Decisions, Fork, Report, name_of
from raydarts.study.scheduling import Decider, Verdict
from raydarts.study.study import Outcome, Proposal, Proposer


@dataclass(frozen=True)
class Spread:
    """The mean of `n` values, and their sample standard deviation. `sd` is None for a single value."""

    mean: float
    sd: float | None
    n: int

    @property
    def noise(self) -> float | None:
        """The standard error of the mean."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)


def spread(values: Iterable[float | None]) -> Spread | None:
    """The mean and spread of the values that are there. None: there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def status_of(statuses: Collection[str]) -> str:
    """The status of a configuration, of those of its trials.

    It is open while a trial is. It is completed if a trial completed, else stopped if one was stopped, else failed.
    """
    ended = ("completed", "stopped", "failed")
    still_open = [status for status in statuses if status not in ended]
    return still_open[0] if still_open else next(status for status in ended if status in statuses)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of a configuration, whose trials have all ended.

    Its value is the mean over its search seeds. A trial that failed counts for nothing. One that was stopped counts
    with its last value, so that a seed that was ahead when the configuration was stopped is not its score. `reports`
    are the means of the epochs that all of them reached. It was halted if all of them were.

    Of several objectives each has its mean. A constraint is as broken as by the worst of its trials.
    """
    counted = [outcome for outcome in outcomes if outcome.status != "failed"]
    status = status_of({outcome.status for outcome in outcomes})
    known = spread(outcome.value for outcome in counted)
    reports = [dict(outcome.reports) for outcome in counted]
    common = sorted(set.intersection(*(set(each) for each in reports))) if reports else []
    means = tuple((epoch, fmean(each[epoch] for each in reports)) for epoch in common)
    halted = bool(counted) and all(outcome.halted for outcome in counted)
    if known is None:
        return Outcome(status, None, means, halted, n=0)
    numbers = [dict(outcome.points) for outcome in counted]
    shared = sorted(set.intersection(*(set(each) for each in numbers)))
    excesses = [outcome.excesses for outcome in counted if outcome.excesses]
    return Outcome(
        status,
        known.mean,
        means,
        halted,
        known.n,
        known.sd,
        values=means_of(outcome.values for outcome in counted),
        excesses=tuple(map(max, zip(*excesses, strict=True))),
        points=tuple((epoch, mean) for epoch in shared if (mean := means_of(each[epoch] for each in numbers))),
    )


def means_of(points: Iterable[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    """The mean of each objective over the points that are there. None: there are none."""
    known = [point for point in points if point is not None]
    return tuple(map(fmean, zip(*known, strict=True))) if known else None


@dataclass
class _Replicate:
    """One trial of a configuration. `reports`: by epoch, the last of which is `epoch`.

    `waits`: the epoch after which it waits.
    """

    reports: dict[int, Report] = field(default_factory=dict)
    epoch: int = 0
    waits: int | None = None
    outcome: Outcome | None = None
    ended: bool = False

    @property
    def failed(self) -> bool:
        return self.outcome is not None and self.outcome.status == "failed"

    def at(self, epoch: int) -> Report | None:
        """Its report at an epoch. A trial that ended before counts with its last one."""
        if epoch not in self.reports:
            epoch = max((each for each in self.reports if each <= epoch), default=0)
        return self.reports.get(epoch)


@dataclass
class _Configuration:
    """A configuration as its scheduler sees it.

    `pending`: the epochs that a trial has reported and the scheduler was not shown. `held`: the scheduler lets it wait.
    `stopped`: it was stopped.
    """

    number: int
    trials: dict[str, _Replicate]
    pending: set[int] = field(default_factory=set)
    held: bool = False
    stopped: bool = False

    @property
    def name(self) -> str:
        return name_of(self.number)

    @property
    def counted(self) -> list[_Replicate]:
        """The trials that count: those that did not fail; all of them where all failed."""
        return [trial for trial in self.trials.values() if not trial.failed] or list(self.trials.values())

    @property
    def ended(self) -> bool:
        return all(trial.ended for trial in self.trials.values())

    @property
    def last(self) -> int:
        return max(trial.epoch for trial in self.counted)

    def complete(self, epoch: int) -> bool:
        """Whether every trial has come to this epoch, or has ended."""
        return all(trial.ended or trial.epoch >= epoch for trial in self.trials.values())

    def note(self, report: Report) -> None:
        """One of its trials has come to an epoch."""
        trial = self.trials[report.trial]
        trial.reports[report.epoch] = report
        if report.epoch > trial.epoch:
            trial.epoch = report.epoch
            self.pending.add(report.epoch)

    def report(self, epoch: int) -> Report:
        reports = [report for trial in self.counted if (report := trial.at(epoch)) is not None]
        known = [report.value for report in reports if report.value is not None]
        return Report(self.name, epoch, fmean(known) if known else None, means_of(report.values for report in reports))

    def take(self, decision: Decided) -> None:
        """What the scheduler decided on it. A spec with replicates has no scheduler that forks."""
        if isinstance(decision, Fork):
            raise ValueError("a scheduler that forks trials works on no configurations with replicates")
        self.held = decision is Decision.PAUSE
        self.stopped = self.stopped or decision is Decision.STOP


class Replicates:
    """The searcher and the scheduler of trials, made of those of configurations.

    `seeds`: the search seeds of each configuration. `meetings`: the epochs after which the trials of a configuration
    wait for one another, so that no seed runs far ahead of what its configuration is stopped for.

    A configuration reports an epoch when all of its trials have come to it or have ended. The value is the mean over
    its trials. A stop stops all of them: those that wait at once, the others at their next report.
    """

    def __init__(
        self, proposer: Proposer, decider: Decider, seeds: Sequence[int], meetings: Collection[int] = ()
    ) -> None:
        self._proposer = proposer
        self._decider = decider
        self._seeds = tuple(seeds)
        self._meetings = frozenset(meetings)
        self._configurations: dict[int, _Configuration] = {}
        self._proposal: Proposal | None = None
        self._changed: dict[int, _Configuration] = {}

    # As a searcher

    def total(self) -> int:
        return self._proposer.total() * len(self._seeds)

    def propose(self, index: int) -> Proposal | None:
        """The configuration of a trial with the search seed of its replicate. The calls come in the order of trials."""
        number, place = divmod(index, len(self._seeds))
        if place == 0:
            self._proposal = self._proposer.propose(number)
        if self._proposal is None:
            return None
        seed = self._seeds[place]
        config = {**self._proposal.config, "seed": seed}
        return replace(self._proposal, config=config, configuration=number, replicate=seed)

    def tell(self, index: int, outcome: Outcome) -> None:
        """A trial has ended. The searcher is told once, when all trials of the configuration have ended.

        It comes before `ended` of the same trial.
        """
        configuration = self._of(name_of(index))
        configuration.trials[name_of(index)].outcome = outcome
        outcomes = [trial.outcome for trial in configuration.trials.values() if trial.outcome is not None]
        if len(outcomes) == len(self._seeds):
            self._proposer.tell(configuration.number, together(outcomes))

    # As a scheduler

    def expect(self, total: int) -> None:
        self._decider.expect(total // len(self._seeds))

    def add(self, trial: str, config: Mapping[str, object], choices: Mapping[str, object]) -> None:
        configuration = self._of(trial)
        if trial == next(iter(configuration.trials)):
            self._decider.add(configuration.name, config, choices)

    def decide(self, report: Report) -> Verdict:
        configuration = self._of(report.trial)
        trial = configuration.trials[report.trial]
        configuration.note(report)
        trial.waits = None
        self._show(configuration)
        decision = self._decision(configuration, report.epoch)
        others = self._settle()
        if decision is Decision.PAUSE:
            trial.waits = report.epoch
        return Verdict(decision, others)

    def ended(self, trial: str, last: Report | None) -> Decisions:
        configuration = self._of(trial)
        one = configuration.trials[trial]
        if last is not None:
            configuration.note(last)
        one.ended, one.waits = True, None
        if configuration.ended:
            self._close(configuration)
        else:
            self._show(configuration)
        return self._settle()

    def _of(self, trial: str) -> _Configuration:
        number = int(trial) // len(self._seeds)
        if number not in self._configurations:
            first = number * len(self._seeds)
            names = [name_of(first + place) for place in range(len(self._seeds))]
            self._configurations[number] = _Configuration(number, {name: _Replicate() for name in names})
        return self._configurations[number]

    def _show(self, configuration: _Configuration) -> None:
        """Show the scheduler the epochs that are complete, in their order."""
        self._changed[configuration.number] = configuration
        while configuration.pending and not configuration.held and not configuration.stopped:
            epoch = min(configuration.pending)
            if not configuration.complete(epoch):
                return
            configuration.pending.remove(epoch)
            verdict = self._decider.decide(configuration.report(epoch))
            configuration.take(verdict.decision)
            self._take(verdict.others)

    def _close(self, configuration: _Configuration) -> None:
        """All trials of a configuration have ended: show the scheduler what it has not seen, and its end."""
        last = configuration.last
        for epoch in sorted(configuration.pending):
            if epoch < last:
                self._take(self._decider.decide(configuration.report(epoch)).others)
        report = configuration.report(last)
        self._take(self._decider.ended(configuration.name, None if report.value is None else report))

    def _take(self, others: Decisions) -> None:
        """What the scheduler decided on configurations that wait."""
        for name, decision in others.items():
            other = self._configurations[int(name)]
            other.take(decision)
            self._show(other)

    def _decision(self, configuration: _Configuration, epoch: int) -> Decision:
        """What follows for a trial of a configuration that has come to this epoch."""
        if configuration.stopped:
            return Decision.STOP
        early = epoch in self._meetings and not configuration.complete(epoch)
        return Decision.PAUSE if configuration.held or early else Decision.CONTINUE

    def _settle(self) -> Decisions:
        """The decisions on trials that wait and no longer have to."""
        decisions: Decisions = {}
        for configuration in self._changed.values():
            for name, trial in configuration.trials.items():
                if trial.waits is None:
                    continue
                decision = self._decision(configuration, trial.waits)
                if decision is not Decision.PAUSE:
                    decisions[name], trial.waits = decision, None
        self._changed = {}
        return dict(sorted(decisions.items()))
