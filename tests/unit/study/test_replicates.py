"""Replicates: a configuration is searched with several seeds. The searcher and the scheduler see configurations."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.registry import Choose
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.whole import open_whole
from raydarts.schedulers.base import Horizon
from raydarts.study.history import Decision, Decisions, History, Report
from raydarts.study.objectives import score_named
from raydarts.study.replicates import Replicates, together
from raydarts.study.scheduling import Verdict
from raydarts.study.study import Outcome, Proposal
from tests.fault.fakes import genotype
from tests.unit.schedulers.scripted import (
    EPOCHS,
    METRIC,
    SCHEDULERS,
    Engine,
    Killed,
    decided,
    dying,
    ends,
    open_stage,
    run_through_kills,
    undisturbed,
    value,
)

SEEDS = (3, 5, 8)
NAMES = [name for name in SCHEDULERS if name != "pbt"]
"""All but the one that copies trials, which is refused with replicates."""


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Configurations:
    """A searcher and a scheduler of configurations that note what they are told. `answers`: by name and epoch."""

    def __init__(self, answers: Mapping[tuple[str, int], Decision | Verdict] | None = None) -> None:
        self.answers = answers or {}
        self.outcomes: dict[int, Outcome] = {}
        self.reports: list[Report] = []
        self.ends: list[tuple[str, Report | None]] = []
        self.expected = 0
        self.added: list[str] = []

    def total(self) -> int:
        return 2

    def propose(self, index: int) -> Proposal | None:
        return Proposal({"lr": index}, {"lr": index, "seed": 0}) if index < 2 else None

    def tell(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome

    def expect(self, total: int) -> None:
        self.expected = total

    def add(self, trial: str, config: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
        self.added.append(trial)

    def decide(self, report: Report) -> Verdict:
        self.reports.append(report)
        answer = self.answers.get((report.trial, report.epoch), Decision.CONTINUE)
        return answer if isinstance(answer, Verdict) else Verdict(answer, {})

    def ended(self, trial: str, last: Report | None) -> Decisions:
        self.ends.append((trial, last))
        return {}


class Trials:
    """Two configurations with three trials each, which report and end as a test says."""

    def __init__(self, meetings: tuple[int, ...] = (), **answers: Any) -> None:
        self.inner = Configurations(answers.get("answers"))
        self.replicates = Replicates(self.inner, self.inner, SEEDS, meetings)
        self.replicates.expect(self.replicates.total())
        self._reports: dict[str, list[tuple[int, float]]] = {}
        for index in range(6):
            proposal = self.replicates.propose(index)
            assert proposal is not None
            self.replicates.add(f"{index:04d}", proposal.config, proposal.choices)

    def report(self, trial: int, epoch: int, score: float) -> Verdict:
        name = f"{trial:04d}"
        self._reports.setdefault(name, []).append((epoch, score))
        return self.replicates.decide(Report(name, epoch, score))

    def end(self, trial: int, status: str, epoch: int | None = None, score: float = 0.0) -> Decisions:
        name = f"{trial:04d}"
        reports = self._reports.setdefault(name, [])
        if epoch is not None:
            reports.append((epoch, score))
        last = reports[-1] if reports else None
        self.replicates.tell(trial, Outcome(status, None if last is None else last[1], reports))
        return self.replicates.ended(name, None if last is None else Report(name, *last))


def test_each_configuration_is_asked_once_for_each_seed() -> None:
    inner = Configurations()
    replicates = Replicates(inner, inner, SEEDS)
    replicates.expect(replicates.total())
    proposals = [replicates.propose(index) for index in range(7)]
    assert replicates.total() == 6
    assert inner.expected == 2
    assert proposals[6] is None
    asked = [each.asked(index) for index, each in enumerate(proposals) if each is not None]
    assert [(each["configuration"], each["replicate"]) for each in asked] == [
        (0, 3),
        (0, 5),
        (0, 8),
        (1, 3),
        (1, 5),
        (1, 8),
    ]
    assert [each["config"] for each in asked[2:4]] == [{"lr": 0, "seed": 8}, {"lr": 1, "seed": 3}]
    assert asked[2]["choices"] == {"lr": 0}


def test_a_configuration_reports_an_epoch_when_all_its_trials_have_and_the_value_is_their_mean() -> None:
    trials = Trials()
    for trial, score in ((0, 0.1), (1, 0.2)):
        assert trials.report(trial, 1, score) == (Decision.CONTINUE, {})
    assert trials.report(0, 2, 0.7) == (Decision.CONTINUE, {})
    assert trials.inner.reports == []
    trials.report(2, 1, 0.6)
    assert trials.inner.added == ["0000", "0001"]
    assert [(each.trial, each.epoch, each.value) for each in trials.inner.reports] == [("0000", 1, pytest.approx(0.3))]


def test_trials_wait_for_one_another_at_a_meeting_and_go_on_when_the_last_has_come() -> None:
    trials = Trials(meetings=(2,))
    for trial in (0, 1):
        assert trials.report(trial, 1, 0.5).decision is Decision.CONTINUE
        assert trials.report(trial, 2, 0.5) == (Decision.PAUSE, {})
    assert trials.report(2, 1, 0.5) == (Decision.CONTINUE, {})
    assert trials.report(2, 2, 0.5) == (Decision.CONTINUE, {"0000": Decision.CONTINUE, "0001": Decision.CONTINUE})
    assert trials.report(0, 3, 0.5) == (Decision.CONTINUE, {})


def test_a_stop_stops_all_trials_those_that_wait_at_once_and_those_that_run_at_their_next_report() -> None:
    trials = Trials(meetings=(2,), answers={("0000", 1): Decision.STOP})
    trials.report(0, 1, 0.5)
    assert trials.report(0, 2, 0.5).decision is Decision.PAUSE
    trials.report(1, 1, 0.5)
    assert trials.report(2, 1, 0.5) == (Decision.STOP, {"0000": Decision.STOP})
    assert trials.report(1, 2, 0.5) == (Decision.STOP, {})


def test_a_pause_of_the_scheduler_acts_on_all_trials_and_so_does_its_end() -> None:
    later = Verdict(Decision.CONTINUE, {"0000": Decision.CONTINUE})
    trials = Trials(meetings=(1,), answers={("0000", 1): Decision.PAUSE, ("0001", 1): later})
    assert [trials.report(trial, 1, 0.5).decision for trial in (0, 1, 2)] == [Decision.PAUSE] * 3
    assert [trials.report(trial, 1, 0.5).decision for trial in (3, 4)] == [Decision.PAUSE] * 2
    decision, others = trials.report(5, 1, 0.5)
    assert decision is Decision.CONTINUE
    assert others == dict.fromkeys(("0000", "0001", "0002", "0003", "0004"), Decision.CONTINUE)


def test_a_trial_that_runs_while_its_configuration_is_paused_waits_at_its_next_report() -> None:
    trials = Trials(answers={("0000", 1): Decision.PAUSE, ("0001", 1): Verdict(Decision.STOP, {"0000": Decision.STOP})})
    trials.report(0, 1, 0.5)
    trials.report(1, 1, 0.5)
    assert trials.report(2, 1, 0.5) == (Decision.PAUSE, {})
    assert trials.report(0, 2, 0.5) == (Decision.PAUSE, {})
    trials.report(3, 1, 0.5)
    trials.report(4, 1, 0.5)
    assert trials.report(5, 1, 0.5) == (Decision.STOP, {"0000": Decision.STOP, "0002": Decision.STOP})
    assert trials.report(1, 2, 0.5) == (Decision.STOP, {})


def test_a_trial_that_fails_lets_the_others_go_on_and_counts_for_nothing() -> None:
    trials = Trials(meetings=(2,))
    for trial, score in ((0, 0.2), (1, 0.4)):
        trials.report(trial, 1, score)
        trials.report(trial, 2, score)
    trials.report(2, 1, 0.9)
    assert trials.inner.reports[-1].value == pytest.approx(0.5)
    assert trials.end(2, "failed") == {"0000": Decision.CONTINUE, "0001": Decision.CONTINUE}
    assert trials.inner.reports[-1] == Report("0000", 2, pytest.approx(0.3))
    trials.end(0, "completed", 3, 0.6)
    assert trials.inner.outcomes == {}
    trials.end(1, "completed", 3, 0.8)
    outcome = trials.inner.outcomes[0]
    assert (outcome.status, outcome.n) == ("completed", 2)
    assert outcome.value == pytest.approx(0.7)
    assert outcome.sd == pytest.approx(stdev((0.6, 0.8)))
    assert outcome.noise == pytest.approx(0.1)
    assert trials.inner.ends == [("0000", Report("0000", 3, pytest.approx(0.7)))]


def test_a_trial_that_fails_can_bring_the_stop_of_the_others() -> None:
    trials = Trials(meetings=(1,), answers={("0000", 1): Decision.STOP})
    trials.report(0, 1, 0.5)
    trials.report(1, 1, 0.5)
    assert trials.end(2, "failed") == {"0000": Decision.STOP, "0001": Decision.STOP}


def test_a_trial_that_ended_early_counts_with_its_last_value() -> None:
    trials = Trials(meetings=(2,))
    for trial in (0, 1, 2):
        trials.report(trial, 1, 0.3)
    assert trials.end(0, "completed", 2, 0.9) == {}
    trials.report(1, 2, 0.3)
    trials.report(2, 2, 0.6)
    trials.report(1, 3, 0.3)
    trials.report(2, 3, 0.3)
    assert [each.value for each in trials.inner.reports] == [pytest.approx(mean) for mean in (0.3, 0.6, 0.5)]


def test_a_configuration_of_which_all_trials_failed_has_failed() -> None:
    trials = Trials()
    for trial in (0, 1, 2):
        trials.end(trial, "failed")
    assert trials.inner.outcomes[0] == Outcome("failed", None, (), n=0)
    assert trials.inner.ends == [("0000", None)]


def test_a_seed_that_was_ahead_of_the_stop_is_not_the_score() -> None:
    """It completed while the others were stopped one epoch before their end: all three count."""
    outcomes = [
        Outcome("completed", 0.9, ((1, 0.5), (2, 0.9))),
        Outcome("stopped", 0.1, ((1, 0.1),)),
        Outcome("stopped", 0.2, ((1, 0.2),)),
    ]
    outcome = together(outcomes)
    assert (outcome.status, outcome.n) == ("completed", 3)
    assert outcome.value == pytest.approx(0.4)
    assert outcome.reports == ((1, pytest.approx(0.8 / 3)),)


# Through the sweep's source of trials, with every event and file


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_decides_as_a_sweep_without_replicates(tmp_path: Path, name: str) -> None:
    """Meetings of one trial with itself pause nothing."""
    plain = undisturbed(tmp_path / "plain", SCHEDULERS[name], 1, places=3)
    one = undisturbed(tmp_path / "one", SCHEDULERS[name], 1, replicates=[0], places=3)
    assert decided(one) == decided(plain)
    assert ends(one) == ends(plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("places", [1, 4])
def test_a_configuration_is_stopped_as_a_whole_and_no_seed_runs_far_ahead(
    tmp_path: Path, name: str, places: int, caplog: pytest.LogCaptureFixture
) -> None:
    run = undisturbed(tmp_path / "run", SCHEDULERS[name], 0, trials=12, replicates=SEEDS, places=places)
    ended = ends(run)
    status = [end[0] for end in ended]
    assert len(status) == 36
    groups = [ended[first : first + 3] for first in range(0, 36, 3)]
    if name == "fifo":
        assert set(status) == {"completed"}
    else:
        assert "stopped" in status
    for group in groups:
        epochs = [epochs for _, epochs in group]
        assert max(epochs) - min(epochs) <= 1 or name == "fifo"
    assert "waits since" not in caplog.text


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_the_scheduler_sees_means_of_configurations(tmp_path: Path, name: str) -> None:
    """What replicates decide is what the scheduler decides on the mean curves of as many trials."""
    run = undisturbed(tmp_path / "run", SCHEDULERS[name], 0, trials=9, replicates=SEEDS)
    horizon = Horizon(score_named(METRIC, "max"), EPOCHS, 0)
    decider = Choose("scheduler").parse(SCHEDULERS[name]).build().build(horizon)
    decider.expect(9)
    history = History.of(run.events())
    seen: dict[tuple[int, int], list[float]] = {}
    for index in range(9):
        decider.add(f"{index:04d}", {}, {})
    compared = 0
    for report in history.reports:
        assert report.value is not None
        number = int(report.trial) // 3
        known = seen.setdefault((number, report.epoch), [])
        known.append(report.value)
        if len(known) < 3:
            continue
        verdict = decider.decide(Report(f"{number:04d}", report.epoch, fmean(known)))
        decision = history.decision(report.trial, report.epoch)
        if verdict.decision is not Decision.PAUSE:  # a pause is over by now
            assert decision is verdict.decision
            compared += 1
    assert compared > 20


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for seed, name in enumerate(NAMES)])
def test_a_study_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path, name: str, seed: int) -> None:
    fails = ("0004", "0009", "0010", "0011")
    whole = undisturbed(tmp_path / "whole", SCHEDULERS[name], seed, trials=6, replicates=SEEDS, fails=fails)
    run = RunDirectory.create(tmp_path / "cut", kind="sweep", spec={})
    draw, kills = random.Random(seed), 0
    while True:
        try:
            with dying(draw.randint(2, 130)):
                Engine(open_stage(run, SCHEDULERS[name], 6, replicates=SEEDS), seed, fails=fails).run()
        except Killed:
            kills += 1
            continue
        break
    open_whole(run.path)
    assert kills >= 3
    assert run.events() == whole.events()
    assert ends(run) == ends(whole)
    description = run.trial(7).description()
    assert (description["configuration"], description["replicate"], description["config"]["seed"]) == (2, 5, 5)


class Collapsing(Engine):
    """The trials of `COLLAPSED` have skip connections alone from epoch 3 on."""

    def _figures(self, trial: TrialDirectory, epoch: int) -> dict[str, float]:
        figures = super()._figures(trial, epoch)
        return figures | SKIPS_ALONE if trial.id in COLLAPSED and epoch >= 3 else figures


COLLAPSED = ("0001", "0006", "0007", "0008")
SKIPS_ALONE = cell_facts(Genotype.from_json(genotype(8)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("places", [1, 4])
def test_a_collapsed_seed_is_halted_and_counts_as_the_worst(
    tmp_path: Path, name: str, places: int, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    stage = open_stage(run, SCHEDULERS[name], 6, replicates=SEEDS)
    told: dict[int, Outcome] = {}
    stage.study._proposer._proposer.tell = told.__setitem__  # type: ignore[attr-defined]
    Collapsing(stage, 0, places=places).run()
    assert "waits since" not in caplog.text
    halted, ended = [event["index"] for event in run.events() if event.get("halted")], ends(run)
    assert {f"{index:04d}" for index in halted} <= set(COLLAPSED)
    if name == "fifo":
        assert halted == [1, 6, 7, 8] if places == 1 else len(halted) == 4
        assert ended[:3] == [("completed", 9), ("stopped", 6), ("completed", 9)]
        assert told[0].status == "completed"
        assert told[0].n == 3
        assert (told[2].status, told[2].halted, told[0].halted) == ("stopped", True, False)
    for index in halted:
        assert ended[index][1] == 6, "the second unhealthy epoch from the fifth on"


@pytest.mark.parametrize("name", NAMES)
def test_a_study_with_collapsed_seeds_that_is_killed_ends_as_one_that_was_not(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = RunDirectory.create(tmp_path / "whole", kind="sweep", spec={})
    Collapsing(open_stage(whole, SCHEDULERS[name], 6, replicates=SEEDS), 1).run()
    run = RunDirectory.create(tmp_path / "cut", kind="sweep", spec={})
    draw, kills = random.Random(3), 0
    while True:
        try:
            with dying(draw.randint(2, 130)):
                Collapsing(open_stage(run, SCHEDULERS[name], 6, replicates=SEEDS), 1).run()
        except Killed:
            kills += 1
            continue
        break
    assert kills >= 3
    assert run.events() == whole.events()
    assert ends(run) == ends(whole)
    assert "would now decide otherwise" not in caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_each_decision_is_made_once_when_trials_run_in_parallel(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})

    def engine(kills: int) -> Engine:
        stage = open_stage(run, SCHEDULERS[name], 6, replicates=SEEDS)
        return Engine(stage, 5 + kills, places=4, fails=("0001", "0008"))

    run_through_kills(run, random.Random(7), engine)
    assert len(ends(run)) == 18
    assert "would now decide otherwise" not in caplog.text
    assert "waits since" not in caplog.text


@pytest.mark.parametrize("name", ["asha", "median", "hyperband"])
@pytest.mark.parametrize("seed", range(3))
def test_trials_that_fail_leave_none_waiting(
    tmp_path: Path, name: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    fails = tuple(f"{each:04d}" for each in random.Random(seed).sample(range(24), 8))
    run = undisturbed(
        tmp_path / "run", SCHEDULERS[name], seed, trials=8, replicates=SEEDS, places=1 + seed, fails=fails
    )
    assert len(ends(run)) == 24
    assert "waits since" not in caplog.text


@pytest.mark.parametrize("name", ["asha", "asha, brackets", "hyperband"])
def test_the_meetings_are_the_epochs_at_which_the_scheduler_acts(tmp_path: Path, name: str) -> None:
    horizon = Horizon(score_named(METRIC, "max"), EPOCHS, 0)
    scheduler: Any = Choose("scheduler").parse(SCHEDULERS[name]).build()
    run = undisturbed(tmp_path / "run", SCHEDULERS[name], 0, trials=30)
    acted = {event["epoch"] for event in run.events() if event.get("decision") in ("pause", "stop")}
    assert acted <= scheduler.meetings(horizon)
    if name == "hyperband":
        assert acted == scheduler.meetings(horizon)
    else:
        brackets = scheduler.build(horizon).scheduler._brackets
        assert scheduler.meetings(horizon) == {
            rung for bracket in brackets for rung, _ in bracket._rungs if rung < EPOCHS
        }


def test_median_meets_at_its_grace_period_and_at_every_tenth_of_the_epochs() -> None:
    scheduler: Any = Choose("scheduler").parse({"name": "median", "grace_period": 3}).build()
    assert sorted(scheduler.meetings(Horizon(score_named(METRIC, "max"), 50, 0))) == list(range(3, 50, 5))
    assert sorted(scheduler.meetings(Horizon(score_named(METRIC, "max"), 6, 0))) == [3, 4, 5]


def test_values_differ_between_seeds(tmp_path: Path) -> None:
    """The scripts of these tests: trials of one configuration are not the same trial."""
    assert len({value(0, f"{trial:04d}", 3) for trial in range(3)}) == 3
