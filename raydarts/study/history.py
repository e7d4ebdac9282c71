"""What a study knows of its trials: what each was asked to run, what it reported, and what was decided.

A history is rebuilt from events.jsonl alone. Each event is on disk before anyone acts on it, so a driver that takes a
run over reads the decisions of the one before, and makes none of them a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, NotRequired, Required, TypedDict


class Decision(StrEnum):
    """What a scheduler decides on a trial after one of its epochs.

    A paused trial frees its place. It waits without a process until `CONTINUE` or a `Fork` is decided on it.
    """

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


class ParentEntry(TypedDict):
    """A segment's parent, as JSON."""

    trial: int
    epoch: int


class SegmentEntry(TypedDict):
    """A segment, as JSON."""

    config: Mapping[str, object]
    choices: Mapping[str, object]
    parent: ParentEntry | None


class ForkEntry(TypedDict):
    """What an event holds of a fork."""

    parent: int
    epoch: int
    config: Mapping[str, object]
    choices: Mapping[str, object]


class DecisionEntry(TypedDict, total=False):
    """The keys by which an event holds a decision. Without `decision` the trial goes on."""

    decision: str
    fork: ForkEntry | None


class OtherEntry(DecisionEntry):
    """A decision on another trial, in an event's `others`."""

    index: Required[int]


class OutcomeEntry(TypedDict):
    """How a trial ended, as JSON. `reports` are pairs of an epoch and a value."""

    status: str
    value: float | None
    reports: Sequence[Sequence[float]]
    halted: NotRequired[bool]
    values: NotRequired[Sequence[float] | None]
    excesses: NotRequired[Sequence[float]]
    points: NotRequired[Sequence[Sequence[Any]]]


class Event(DecisionEntry, total=False):
    """A line of events.jsonl. `History.add` says which event has which keys."""

    event: Required[str]
    index: Required[int]
    epoch: int
    configuration: int | None
    replicate: int | None
    choices: Mapping[str, object]
    config: Mapping[str, object]
    value: float | None
    values: Sequence[float] | None
    broken: Mapping[str, int]
    reason: str | None
    halted: bool
    outcome: OutcomeEntry
    others: Sequence[OtherEntry]


class Parent(NamedTuple):
    """The trial whose checkpoint after `epoch` another trial goes on from."""

    trial: str
    epoch: int


@dataclass(frozen=True)
class Segment:
    """A part of a trial with the same settings. `parent`: where it goes on from; None: it begins anew.

    `choices` are the swept settings among `config`, by name.
    """

    config: Mapping[str, object]
    choices: Mapping[str, object]
    parent: Parent | None = None

    @property
    def origin(self) -> str:
        """Where it goes on from, in words."""
        if self.parent is None:
            return "begins anew"
        return f"goes on from trial {self.parent.trial} after epoch {self.parent.epoch}"

    def to_json(self) -> SegmentEntry:
        parent: ParentEntry | None = None
        if self.parent is not None:
            parent = {"trial": int(self.parent.trial), "epoch": self.parent.epoch}
        return {"config": self.config, "choices": self.choices, "parent": parent}


@dataclass(frozen=True)
class Fork:
    """The decision that a trial gives up what it has learned, and goes on from another trial's checkpoint.

    Its settings are `config` from then on. Both trials have run `epoch` epochs.
    """

    parent: str
    epoch: int
    config: Mapping[str, object]
    choices: Mapping[str, object]

    def __str__(self) -> str:
        return f"fork of trial {self.parent} after epoch {self.epoch}"

    @property
    def segment(self) -> Segment:
        return Segment(self.config, self.choices, Parent(self.parent, self.epoch))


Decided = Decision | Fork
Decisions = dict[str, Decided]
"""Decisions by the trial's name."""


@dataclass(frozen=True)
class Report:
    """A trial has ended an epoch. `value`: its objective's, None where that is no finite number.

    `values`: with several objectives the number of each, None where one of them is no finite number.
    """

    trial: str
    epoch: int
    value: float | None
    values: tuple[float, ...] | None = None


@dataclass
class Trial:
    """One trial. `segments`: one, and a further one for each fork. `decisions`: the last one on each of its epochs.
    `status`: how it ended; None while it has not.

    `reason`: why a rule stopped it, in words; None: none did. `halted`: it was stopped because it had collapsed.
    """

    name: str
    segments: list[Segment]
    decisions: dict[int, Decided] = field(default_factory=dict)
    status: str | None = None
    reason: str | None = None
    halted: bool = False

    @property
    def config(self) -> Mapping[str, object]:
        """The settings it has now."""
        return self.segments[-1].config

    @property
    def proposed_epochs(self) -> int | None:
        """How many epochs it ran with the settings that were proposed; None: all."""
        return None if len(self.segments) == 1 or self.segments[1].parent is None else self.segments[1].parent.epoch

    @property
    def epoch(self) -> int:
        """The last epoch that was decided on; 0: none yet."""
        return max(self.decisions, default=0)

    @property
    def last(self) -> Decided:
        """The decision on its last epoch. A trial that has reported nothing goes on."""
        return self.decisions.get(self.epoch, Decision.CONTINUE)


def name_of(index: int) -> str:
    """The name of trial `index`, which is also its folder's."""
    return f"{index:04d}"


@dataclass
class History:
    """All trials by name, and all reports in the order in which they came.

    `released`: trials that waited or were forked and may go on, but have reported nothing since. `stopped`: trials on
    which a stop was decided. Both are in the order of the decisions.
    """

    trials: dict[str, Trial] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    _decided: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def of(cls, events: Iterable[Event]) -> History:
        history = cls()
        for event in events:
            history.add(event)
        return history

    def add(self, event: Event) -> Report | None:
        """Take in an event of events.jsonl. Returns the report in it, if it is the first on that epoch of the trial.

        `ask`: a trial is to be run. `decide`: a decision on a trial's epoch. `tell`: a trial has ended. A `decide` or
        a `tell` may hold decisions on other trials too, in `others`. `report`: a trial went on; runs that were made
        before decisions were recorded have these, without a value.
        """
        kind, name, report = event["event"], name_of(int(event["index"])), None
        if kind == "ask":
            self.trials[name] = Trial(name, [Segment(event["config"], event.get("choices") or {})])
            return None
        if kind != "tell" and (name, int(event["epoch"])) not in self._decided:
            values = event.get("values")
            report = Report(name, int(event["epoch"]), event.get("value"), None if values is None else tuple(values))
            self._decided.add((name, report.epoch))
            self.reports.append(report)
        if report is not None or kind == "tell":
            self.released = [each for each in self.released if each != name]
        for other, decision in others_of(event).items():
            self._decide(other, self.trials[other].epoch, decision)
        if kind == "tell":
            self.trials[name].status = str(event["outcome"]["status"])
        else:
            self._decide(name, int(event["epoch"]), decided_in(event))
            if event.get("reason") is not None:
                self.trials[name].reason, self.trials[name].halted = event["reason"], bool(event.get("halted"))
        return report

    def _decide(self, name: str, epoch: int, decision: Decided) -> None:
        trial = self.trials[name]
        if decision is Decision.STOP:
            self.stopped.append(name)
        elif isinstance(decision, Fork):
            trial.segments.append(decision.segment)
            self.released.append(name)
        elif decision is Decision.CONTINUE and trial.decisions.get(epoch) is Decision.PAUSE:
            self.released.append(name)
        trial.decisions[epoch] = decision

    def decision(self, trial: str, epoch: int) -> Decided | None:
        """What is recorded on an epoch of a trial; None: nothing yet."""
        return self.trials[trial].decisions.get(epoch)

    def waiting(self) -> list[Trial]:
        """The trials that are paused, those that wait for longest first."""
        order = {(report.trial, report.epoch): number for number, report in enumerate(self.reports)}
        paused = [trial for trial in self.trials.values() if trial.status is None and trial.last is Decision.PAUSE]
        return sorted(paused, key=lambda trial: order[(trial.name, trial.epoch)])


def decided_in(event: DecisionEntry) -> Decided:
    """The decision that an event, or an entry of its `others`, holds on its own trial."""
    fork = event.get("fork")
    if fork is not None:
        return Fork(name_of(int(fork["parent"])), int(fork["epoch"]), fork["config"], fork["choices"])
    return Decision(event.get("decision", Decision.CONTINUE))


def as_event(decision: Decided) -> DecisionEntry:
    """The keys by which an event holds a decision."""
    if isinstance(decision, Decision):
        return {"decision": str(decision)}
    fork: ForkEntry = {
        "parent": int(decision.parent),
        "epoch": decision.epoch,
        "config": decision.config,
        "choices": decision.choices,
    }
    return {"decision": "fork", "fork": fork}


def others_of(event: Event) -> Decisions:
    """The decisions on other trials that an event holds."""
    return {name_of(int(each["index"])): decided_in(each) for each in event.get("others", ())}


def written(decisions: Mapping[str, Decided]) -> list[OtherEntry]:
    """The decisions on other trials, as an event holds them."""
    return [{"index": int(name), **as_event(decision)} for name, decision in decisions.items()]
