"""The strategy of a search: which trials are run, and what follows from what they report.

A `Study` proposes trials, decides on them and is told how they end. It knows no folder, no process and no clock. It
writes each step to an event log before the step acts, and it is rebuilt from that log alone. A sweep under Ray Tune, a
sweep in this process and a replay of recorded runs drive the same class.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from raydarts.json_types import whole
from raydarts.study.history import (
    Decided,
    Decision,
    Decisions,
    Event,
    Fork,
    History,
    OutcomeEntry,
    Report,
    Trial,
    as_event,
    decided_in,
    name_of,
    others_of,
    written,
)
from raydarts.study.objectives import SearchScore
from raydarts.study.rules import Rules
from raydarts.study.scheduling import Decider, Verdict

logger = logging.getLogger("raydarts")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or a configuration. `value` is its objective's finite form; `reports` are the `(epoch, value)`
    pairs that the scheduler was shown so far. `halted`: it was stopped because it had collapsed.

    A configuration with replicates has the mean of `n` search seeds as its value, with their standard deviation `sd`.

    With several objectives or with constraints there is more:

    - `values`: each objective's figure. Constraints take nothing from it. None: a figure is not there.
    - `excesses`: by how much each constraint is broken. At most 0 where it is kept (`SearchScore.excesses`).
    - `points`: with several objectives `(epoch, numbers)` pairs, as `reports` has them for the first.
    """

    status: str
    value: float | None = None
    reports: Sequence[tuple[int, float]] = field(default_factory=tuple)
    halted: bool = False
    n: int = 1
    sd: float | None = None
    values: tuple[float, ...] | None = None
    excesses: tuple[float, ...] = ()
    points: Sequence[tuple[int, tuple[float, ...]]] = field(default_factory=tuple)

    @property
    def noise(self) -> float | None:
        """The standard error of `value`. None where there is one search seed, of which no spread is known."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)

    def to_json(self) -> OutcomeEntry:
        plain: OutcomeEntry = {
            "status": self.status,
            "value": self.value,
            "reports": [list(pair) for pair in self.reports],
        }
        if self.halted:
            plain["halted"] = True
        if self.values is not None:
            plain["values"] = list(self.values)
        if self.excesses:
            plain["excesses"] = list(self.excesses)
        if self.points:
            plain["points"] = [[epoch, list(numbers)] for epoch, numbers in self.points]
        return plain

    @classmethod
    def from_json(cls, value: OutcomeEntry) -> Outcome:
        reports = tuple((int(epoch), float(score)) for epoch, score in value["reports"])
        values = value.get("values")
        return cls(
            value["status"],
            value["value"],
            reports,
            bool(value.get("halted", False)),
            values=None if values is None else tuple(values),
            excesses=tuple(value.get("excesses", ())),
            points=tuple((int(epoch), tuple(numbers)) for epoch, numbers in value.get("points", ())),
        )


def ended(score: SearchScore, status: str, row: Mapping[str, object]) -> Outcome:
    """How a trial ended that came to these figures, without what it reported on the way."""
    value = score.finite(row)
    if not (score.several or score.constraints):
        return Outcome(status, value)
    alone = score.healthy_form(row)
    figures = score.figures(row) if score.several else None if alone is None else (alone,)
    return Outcome(status, value, values=figures, excesses=score.excesses(row) if row else ())


@dataclass(frozen=True)
class Proposal:
    """A configuration that a searcher proposes. `choices` are its draws by name.

    `problem` says why no trial can be made of it; None: one can. With replicates `configuration` is its number, and
    `replicate` the search seed of the trial.
    """

    choices: Mapping[str, object]
    config: Mapping[str, object]
    problem: Exception | None = None
    configuration: int | None = None
    replicate: int | None = None

    def asked(self, index: int) -> Event:
        """The event that the trial `index` is made of it."""
        if self.configuration is None:
            return {"event": "ask", "index": index, "choices": self.choices, "config": self.config}
        return {
            "event": "ask",
            "index": index,
            "configuration": self.configuration,
            "replicate": self.replicate,
            "choices": self.choices,
            "config": self.config,
        }


class Proposer(Protocol):
    """A searcher at work. The calls are made again in the same order when a run is resumed."""

    def total(self) -> int:
        """How many trials there will be."""

    def propose(self, index: int) -> Proposal | None:
        """The configuration of trial `index`; None: there are no more."""

    def tell(self, index: int, outcome: Outcome) -> None:
        """Trial `index` has ended."""


class Study:
    """Trials of one search. Every proposal, decision and end is an event; `write` puts it on disk before it acts.

    `epochs`: the most epochs that any trial runs. Nothing is decided on a trial that has run them. `averages`: the
    scheduler averages what it is shown. `rules` stop a trial whatever the scheduler says.
    """

    def __init__(
        self,
        proposer: Proposer,
        decider: Decider,
        score: SearchScore,
        epochs: int,
        write: Callable[[Event], None],
        *,
        averages: bool = False,
        rules: Rules | None = None,
    ) -> None:
        self._averages = averages
        self._rules = rules or Rules()
        self.history = History()
        self.score = score
        self.epochs = epochs
        self.to_stop: list[str] = []
        """Trials that wait and on which a stop was decided. Whoever runs trials ends each, then calls `ended`."""
        self.to_fork: list[str] = []
        """Trials that go on from another trial's checkpoint. Whoever runs trials puts it there before any trial runs
        on: the other trial keeps only its newest checkpoints.
        """
        self._proposer = proposer
        self._decider = decider
        self._append = write
        self._ready: list[str] = []
        self._decider.expect(proposer.total())

    # Rebuilding from the log

    def replay(self, event: Event, rows: Callable[[str], Sequence[Mapping[str, object]]]) -> None:
        """Take in an event of an earlier driver. The searcher and the scheduler see it; the recorded answers count.

        `rows` gives a trial's rows by its name. They are read only for runs that recorded no values.
        """
        index, name = int(event["index"]), name_of(int(event["index"]))
        report = self.history.add(event)
        if event["event"] == "ask":
            proposal = self._proposer.propose(index)
            if proposal is None or proposal.choices != event["choices"]:
                logger.warning("trial %s: the searcher now proposes otherwise; the recorded one is kept", name)
            self._decider.add(name, event["config"], event.get("choices") or {})
        elif event["event"] == "tell":
            outcome = Outcome.from_json(event["outcome"])
            self._proposer.tell(index, self._of_proposal(name, outcome))
            self._close(name, outcome)
            self._tell_of_forks(others_of(event))
        elif report is not None:
            if event["event"] == "report":
                row = next((row for row in rows(name) if row.get("epoch") == report.epoch), {})
                report = self._report(name, report.epoch, row)
            self._rules.set(name, event.get("broken", {}))
            answer = self._verdict(report, stopped=event.get("reason") is not None, halted=bool(event.get("halted")))
            others = others_of(event)
            if (answer.decision, answer.others) != (decided_in(event), others):
                logger.warning(
                    "trial %s, epoch %d: the scheduler would now decide otherwise (%s); the recorded decision is kept",
                    name,
                    report.epoch,
                    answer.decision,
                )
            self._tell_of_forks({**others, name: decided_in(event)})

    def rebuilt(self) -> None:
        """All events of the log were replayed and what they left undone was made good: trials that run go on."""
        released = self.history.released
        running = [trial.name for trial in self.open() if trial.last is not Decision.PAUSE]
        self._ready = [name for name in running if name not in released] + list(released)

    # What is left

    def open(self) -> list[Trial]:
        """The trials that have not ended."""
        return [trial for trial in self.history.trials.values() if trial.status is None]

    def total(self) -> int:
        return max(self._proposer.total(), len(self.history.trials))

    def remaining(self) -> int:
        """How many trials are still to be run, or wait."""
        return len(self._ready) + len(self.history.waiting()) + self.total() - len(self.history.trials)

    # What the trials do

    def next_ready(self) -> str | None:
        """The next trial that was begun and goes on; None: there is none."""
        return self._ready.pop(0) if self._ready else None

    def ask(self) -> tuple[str, Proposal] | None:
        """A new trial with its configuration; None: there are no more."""
        index = len(self.history.trials)
        proposal = self._proposer.propose(index)
        if proposal is None:
            return None
        self._write(proposal.asked(index))
        self._decider.add(name_of(index), proposal.config, proposal.choices)
        return name_of(index), proposal

    def release(self) -> str | None:
        """Let the trial that waits longest go on: nothing else runs, so it would wait for ever. None: none waits."""
        waiting = self.history.waiting()
        if not waiting:
            return None
        name, epoch = waiting[0].name, waiting[0].epoch
        logger.warning("trial %s: waits since epoch %d, and no other trial runs: it goes on", name, epoch)
        self._write({"event": "decide", "index": int(name), "epoch": epoch, "decision": str(Decision.CONTINUE)})
        return name

    def reported(self, name: str, epoch: int, row: Mapping[str, object]) -> Decided:
        """A trial has ended an epoch with the figures in `row`. Returns the decision on it.

        A decision that is recorded stands, also where the epoch is run again.
        """
        if (known := self.history.decision(name, epoch)) is not None:
            return known
        report = self._report(name, epoch, row)
        event: Event = {"event": "decide", "index": int(name), "epoch": epoch, "value": report.value}
        if self.score.several:
            event["values"] = None if report.values is None else list(report.values)
        rule = None
        if epoch < self.epochs:
            epochs = whole(self.history.trials[name].config.get("epochs"), self.epochs)
            judged = self._rules.judge(name, epoch, epochs, row)
            rule = judged.stops
            if judged.counts:
                event["broken"] = dict(judged.counts)
            if rule is not None:
                event["reason"], event["halted"] = rule.why(row), rule.halts
        verdict = self._verdict(report, stopped=rule is not None, halted=rule is not None and rule.halts)
        self._write({**event, **as_event(verdict.decision)}, verdict.others)
        self._act(verdict.others)
        if isinstance(verdict.decision, Fork):
            self._act({name: verdict.decision})
        return verdict.decision

    def shown(self, row: Mapping[str, object]) -> float | None:
        """The number of a row that the scheduler is shown: the objective's order, or its finite form for averages."""
        return self.score.finite(row) if self._averages else self.score.order(row)

    def _report(self, name: str, epoch: int, row: Mapping[str, object]) -> Report:
        """What the scheduler is shown of a row."""
        return Report(name, epoch, self.shown(row), self.score.orders(row) if self.score.several else None)

    def _verdict(self, report: Report, *, stopped: bool, halted: bool) -> Verdict:
        """What is decided after a report: a rule's stop, else the scheduler's answer.

        The scheduler is shown a halted trial as the worst at the epochs that follow, until it decides on it.
        """
        verdict = self._decider.decide(report)
        if not stopped:
            return verdict
        decision, others = verdict
        epoch = report.epoch + 1
        while halted and decision is Decision.CONTINUE and epoch < self.epochs:
            worst = self.score.worst_of_each if self.score.several else None
            decision, more = self._decider.decide(Report(report.trial, epoch, self.score.worst, worst))
            others, epoch = others | more, epoch + 1
        others = {name: each for name, each in others.items() if name != report.trial}
        for name, each in others.items():
            if isinstance(each, Fork) and each.parent == report.trial:
                others[name] = Decision.CONTINUE  # nobody goes on as a copy of a trial that a rule has stopped
        return Verdict(Decision.STOP, others)

    def undecided(self, name: str, epoch: int) -> bool:
        """Whether a decision on this epoch of a trial is still to be made."""
        trial = self.history.trials[name]
        return trial.status is None and trial.epoch < epoch < self.epochs

    def ended(self, name: str, outcome: Outcome) -> None:
        """A trial has ended. The searcher and the scheduler are told."""
        if name in self._ready:
            self._ready.remove(name)
        self._proposer.tell(int(name), self._of_proposal(name, outcome))
        others = self._close(name, outcome)
        self._write({"event": "tell", "index": int(name), "outcome": outcome.to_json()}, others)
        self._act(others)

    def _close(self, name: str, outcome: Outcome) -> Decisions:
        """Tell the scheduler of a trial's end, and of rows that it was not asked about; not of the last one, after
        which the trial had ended by itself."""
        points = dict(outcome.points)
        reports = [Report(name, epoch, value, points.get(epoch)) for epoch, value in outcome.reports]
        asked = reports if outcome.status == "stopped" else reports[:-1]
        others: Decisions = {}
        for report in asked:
            if self.history.decision(name, report.epoch) is None:
                others |= self._decider.decide(report).others
        return others | self._decider.ended(name, reports[-1] if reports else None)

    def _of_proposal(self, name: str, outcome: Outcome) -> Outcome:
        """What the searcher is told of a trial.

        A forked trial ended with other settings than it proposed, and with what another trial had learned. The searcher
        is told that its configuration was stopped when it was given up, with the reports up to then.
        """
        epochs = self.history.trials[name].proposed_epochs
        if epochs is None:
            return outcome
        reports = [(epoch, value) for epoch, value in outcome.reports if epoch <= epochs]
        value = reports[-1][1] if reports else None
        return replace(outcome, status="stopped", value=value, reports=reports, values=None, excesses=())

    def _tell_of_forks(self, decisions: Mapping[str, Decided]) -> None:
        """The scheduler learns what settings forked trials have: they are recorded, and it may now decide otherwise."""
        for name, decision in decisions.items():
            if isinstance(decision, Fork):
                self._decider.add(name, decision.config, decision.choices)

    def _write(self, event: Event, others: Mapping[str, Decided] | None = None) -> None:
        """An event in the log, and then in the history."""
        if others:
            event = {**event, "others": written(others)}
        self._append(event)
        self.history.add(event)

    def _act(self, others: Mapping[str, Decided]) -> None:
        """Keep what was decided on trials until it is carried out."""
        self._tell_of_forks(others)
        for name, decision in others.items():
            if decision is Decision.STOP:
                self.to_stop.append(name)
            elif decision is not Decision.PAUSE:
                if isinstance(decision, Fork):
                    self.to_fork.append(name)
                self._ready.append(name)
