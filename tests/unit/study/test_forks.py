"""Forks in a study that has no disk: what is recorded, what is left to be carried out, what the searcher is told."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from raydarts.registry import Choose
from raydarts.study.history import Decision, Decisions, Fork, History, Parent, Report, Segment
from raydarts.study.scheduling import Verdict
from raydarts.study.study import Outcome, Proposal, Study

EPOCHS = 4
SCORE = Choose("objective").parse("validation_accuracy").build().score()
NEW = {"lr": 9}


class Proposer:
    def __init__(self) -> None:
        self.heard: list[tuple[int, Outcome]] = []

    def total(self) -> int:
        return 2

    def propose(self, index: int) -> Proposal | None:
        return Proposal({"search.lr": index}, {"lr": index, "epochs": EPOCHS}) if index < 2 else None

    def tell(self, index: int, outcome: Outcome) -> None:
        self.heard.append((index, outcome))


class Scripted:
    """Pauses trial 0 after epoch 2. When trial 1 is there, trial 0 goes on from it."""

    def __init__(self) -> None:
        self.settings: list[tuple[str, Mapping[str, Any]]] = []

    def expect(self, total: int) -> None:
        pass

    def add(self, trial: str, config: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
        self.settings.append((trial, config))

    def decide(self, report: Report) -> Verdict:
        if report.epoch != 2:
            return Verdict(Decision.CONTINUE, {})
        if report.trial == "0000":
            return Verdict(Decision.PAUSE, {})
        return Verdict(Decision.CONTINUE, {"0000": Fork("0001", 2, NEW, {"search.lr": 9})})

    def ended(self, trial: str, last: Report | None) -> Decisions:
        return {}


def study(log: list[dict[str, Any]], rules: Any = None) -> tuple[Study, Proposer, Scripted]:
    proposer, decider = Proposer(), Scripted()
    more = {} if rules is None else {"rules": rules}
    return Study(proposer, decider, SCORE, EPOCHS, lambda event: log.append(dict(event)), **more), proposer, decider


def to_the_fork(log: list[dict[str, Any]], rules: Any = None) -> tuple[Study, Proposer, Scripted]:
    made = study(log, rules)
    for _ in range(2):
        made[0].ask()
    for name in ("0000", "0001"):
        for epoch in (1, 2):
            made[0].reported(name, epoch, {"validation_accuracy": 0.1 * epoch})
    return made


def test_a_fork_is_an_event_before_it_is_to_be_carried_out() -> None:
    log: list[dict[str, Any]] = []
    one, _, decider = to_the_fork(log)
    fork = {"parent": 1, "epoch": 2, "config": NEW, "choices": {"search.lr": 9}}
    assert log[-1]["others"] == [{"index": 0, "decision": "fork", "fork": fork}]
    assert one.to_fork == ["0000"]
    assert one.next_ready() == "0000"
    assert one.history.trials["0000"].segments[1] == Segment(NEW, {"search.lr": 9}, Parent("0001", 2))
    assert decider.settings[-1] == ("0000", NEW)


def test_a_history_rebuilt_from_events_has_the_segments() -> None:
    log: list[dict[str, Any]] = []
    one, _, _ = to_the_fork(log)
    again = History.of(log)
    assert again.trials == one.history.trials
    assert again.released == ["0000"]
    assert again.waiting() == []


def test_a_driver_that_takes_over_gives_the_forked_trial_and_tells_the_scheduler_its_settings() -> None:
    log: list[dict[str, Any]] = []
    to_the_fork(log)
    two, _, decider = study([])
    for event in log:
        two.replay(event, lambda _: [])
    two.rebuilt()
    assert decider.settings[-1] == ("0000", NEW)
    assert [two.next_ready(), two.next_ready(), two.next_ready()] == ["0001", "0000", None]


def test_the_searcher_is_told_that_a_forked_configuration_was_stopped_at_the_fork() -> None:
    log: list[dict[str, Any]] = []
    one, proposer, _ = to_the_fork(log)
    reports = ((1, 0.1), (2, 0.2), (3, 0.8), (4, 0.9))
    one.ended("0000", Outcome("completed", 0.9, reports))
    index, outcome = proposer.heard[-1]
    assert (index, outcome.status, outcome.value, list(outcome.reports)) == (0, "stopped", 0.2, [(1, 0.1), (2, 0.2)])
    assert log[-1]["outcome"]["status"] == "completed"
    two, again, _ = study([])
    for event in log:
        two.replay(event, lambda _: [])
    assert again.heard == proposer.heard


class HaltsTheSecond:
    """Rules by which trial 1 is halted after epoch 2."""

    def judge(self, name: str, epoch: int, epochs: int, row: Mapping[str, Any]) -> Any:
        rule = SimpleNamespace(why=lambda _: "collapsed", halts=True) if (name, epoch) == ("0001", 2) else None
        return SimpleNamespace(stops=rule, counts={})


def test_no_trial_is_forked_from_a_trial_that_a_rule_has_stopped() -> None:
    log: list[dict[str, Any]] = []
    one, _, _ = to_the_fork(log, HaltsTheSecond())
    assert log[-1]["decision"] == "stop"
    assert log[-1]["others"] == [{"index": 0, "decision": "continue"}]
    assert one.to_fork == []
    assert one.next_ready() == "0000"


def test_a_trial_that_cannot_be_forked_is_given_to_nobody() -> None:
    log: list[dict[str, Any]] = []
    one, _, _ = to_the_fork(log)
    one.ended("0000", Outcome("failed"))
    assert one.next_ready() is None
