"""Schedulers: they decide as Ray Tune's own, and what they decided outlives a driver."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, MedianStoppingRule

from raydarts.registry import Around, Choose
from raydarts.runs.directory import RunDirectory
from raydarts.runs.whole import open_whole
from raydarts.study.history import Decision, History
from tests.unit.schedulers import scripted
from tests.unit.schedulers.scripted import (
    EPOCHS,
    HEALTHY,
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
)

COMMON: dict[str, Any] = {"time_attr": "epoch", "metric": METRIC, "mode": "max"}


class Alone:
    """Ray Tune's own scheduler with a controller of its own: what it decides without raydarts."""

    search_alg = None

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.trials: list[Trial] = []
        self.decisions: dict[tuple[str, int], str] = {}

    def get_live_trials(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.is_finished()]

    def stop_trial(self, trial: Trial) -> None:
        self.scheduler.on_trial_remove(self, trial)
        trial.set_status(Trial.TERMINATED)
        self.decisions[trial.trial_id, trial.run_metadata.last_result["epoch"]] = "stop"

    def add(self, name: str) -> Trial:
        trial = Trial("raydarts", trial_id=name, stub=True)
        self.trials.append(trial)
        self.scheduler.on_trial_add(self, trial)
        return trial

    def replay(self, history: History, seed: int) -> dict[tuple[str, int], str]:
        """Show it all rows of a run in their order."""
        hyperband = isinstance(self.scheduler, HyperBandScheduler)
        known = {name: self.add(name) for name in sorted(history.trials)} if hyperband else {}
        for report in history.reports:
            trial = known.get(report.trial) or known.setdefault(report.trial, self.add(report.trial))
            row = {"epoch": report.epoch, METRIC: scripted.value(seed, report.trial, report.epoch)}
            if trial.status == Trial.PAUSED:
                bracket, _ = self.scheduler._trial_info[trial]
                assert trial in bracket.trials_to_unpause
                self.decisions[report.trial, report.epoch - 1] = "continue"
            trial.set_status(Trial.RUNNING)
            trial.run_metadata.last_result = row
            answer = self.scheduler.on_trial_result(self, trial, row)
            self.decisions[report.trial, report.epoch] = answer.lower()
            if answer == "PAUSE":
                trial.set_status(Trial.PAUSED)
            elif answer == "STOP" or report.epoch == EPOCHS - 1:
                last = (
                    row if answer == "STOP" else {"epoch": EPOCHS, METRIC: scripted.value(seed, report.trial, EPOCHS)}
                )
                self.scheduler.on_trial_complete(self, trial, last)
                trial.set_status(Trial.TERMINATED)
        return self.decisions


def tunes(name: str) -> Any:
    if name == "median":
        return MedianStoppingRule(**COMMON, grace_period=2, min_samples_required=2, min_time_slice=99)
    if name == "hyperband":
        return HyperBandScheduler(**COMMON, max_t=EPOCHS, reduction_factor=3, stop_last_trials=False)
    return AsyncHyperBandScheduler(**COMMON, max_t=EPOCHS, grace_period=1, reduction_factor=2)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("name", ["asha", "median", "hyperband"])
@pytest.mark.parametrize("seed", range(3))
def test_decisions_equal_those_of_ray_tunes_own_scheduler(tmp_path: Path, name: str, seed: int) -> None:
    run = undisturbed(tmp_path / "run", SCHEDULERS[name], seed)
    decisions = decided(run)
    assert decisions == Alone(tunes(name)).replay(History.of(run.events()), seed)
    assert "stop" in decisions.values()


@pytest.mark.parametrize("name", list(SCHEDULERS))
@pytest.mark.parametrize("seed", range(3))
def test_a_study_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path, name: str, seed: int) -> None:
    whole = undisturbed(tmp_path / "whole", SCHEDULERS[name], seed)
    run = RunDirectory.create(tmp_path / "cut", kind="sweep", spec={})
    draw, kills = random.Random(seed), 0
    while True:
        try:
            with dying(draw.randint(2, 130)):
                Engine(open_stage(run, SCHEDULERS[name]), seed).run()
        except Killed:
            kills += 1
            continue
        break
    open_whole(run.path)
    assert kills >= 3
    assert run.events() == whole.events()
    assert ends(run) == ends(whole)


@pytest.mark.parametrize("name", ["asha", "median", "hyperband"])
def test_a_resume_keeps_decisions_that_it_would_make_otherwise(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A scheduler with other settings stands for a scheduler that changed: recorded decisions are kept, and told."""
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    with pytest.raises(Killed), dying(150):
        Engine(open_stage(run, SCHEDULERS[name]), 1).run()
    before = decided(run)
    assert {"stop", "pause"} & set(before.values())
    Engine(open_stage(run, {"name": "asha", "reduction_factor": 1.01}), 1).run()
    after = decided(run)
    ended = {event["index"] for event in run.events() if event["event"] == "tell"}
    assert len(ended) == 18
    changed = {key for key in before if after[key] != before[key]}
    assert all(before[key] == "pause" and after[key] == "continue" for key in changed)
    assert "would now decide otherwise" in caplog.text


def test_paused_trials_let_their_places_go_to_others(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    engine = Engine(open_stage(run, SCHEDULERS["hyperband"]), 0, places=2)
    engine.run()
    assert engine.most == 2
    events = run.events()
    paused = [event for event in events if event.get("decision") == "pause"]
    assert len(paused) > 5
    assert any(event.get("others") for event in events)
    assert {event["outcome"]["status"] for event in events if event["event"] == "tell"} == {"completed", "stopped"}


def test_hyperband_waits_for_no_trial_that_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others of its bracket go on, and none of them has to be let go by force."""
    fails = ("0003", "0004", "0009")
    run = undisturbed(tmp_path / "run", SCHEDULERS["hyperband"], 0, places=3, fails=fails)
    status = {trial.id: (trial.result() or {})["status"] for trial in run.trials()}
    assert len(status) == 18
    assert "failed" in {status[name] for name in fails}
    assert "waits since" not in caplog.text


@pytest.mark.parametrize("factor", [2, 3])
def test_hyperband_says_from_how_many_trials_on_it_stops_any(tmp_path: Path, factor: int) -> None:
    settings = {"name": "hyperband", "reduction_factor": factor}
    member = Choose("scheduler").parse(settings).build()

    def acts(jobs: int) -> bool:
        return not list(member.idle(Around(None, EPOCHS, EPOCHS, jobs, 0.0)))

    least = next(jobs for jobs in range(1, 20) if acts(jobs))
    for jobs in (least - 1, least):
        run = undisturbed(tmp_path / str(jobs), settings, 0, trials=jobs)
        assert ("stopped" in dict(ends(run))) == acts(jobs)


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_each_decision_is_made_once_when_trials_run_in_parallel(tmp_path: Path, name: str) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    run_through_kills(
        run, random.Random(5), lambda kills: Engine(open_stage(run, SCHEDULERS[name]), 5 + kills, places=3)
    )
    assert len(ends(run)) == 18
    shown = [(event["index"], event["epoch"]) for event in run.events() if "value" in event]
    assert len(shown) == len(set(shown))


def test_a_scheduler_from_outside_that_is_none_of_ray_tunes_decides(tmp_path: Path) -> None:
    run = undisturbed(tmp_path / "run", {"name": "tests.unit.schedulers.outside:Threshold", "least": 0.2}, 0)
    for name, epochs in ((trial.id, len(trial.rows())) for trial in run.trials()):
        assert epochs == (2 if scripted.value(0, name, 2) < 0.2 else EPOCHS)
    assert {status for status, _ in ends(run)} == {"completed", "stopped"}


def test_an_epoch_that_is_run_again_is_not_decided_again(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    stage = open_stage(run, SCHEDULERS["asha"])
    trial = stage.next_trial()
    assert trial is not None
    assert stage.reported(trial, 1, {METRIC: 0.5}) is Decision.CONTINUE
    events = run.events()
    assert stage.reported(trial, 1, {METRIC: 0.0}) is Decision.CONTINUE
    assert run.events() == events


def test_a_row_without_the_metric_lets_the_trial_go_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    stage = open_stage(run, SCHEDULERS["hyperband"])
    trial = stage.next_trial()
    assert trial is not None
    assert stage.reported(trial, 1, {}) is Decision.CONTINUE
    assert "gives no finite number of healthy_accuracy" in caplog.text


def test_a_run_that_recorded_no_decisions_goes_on(tmp_path: Path) -> None:
    """Its `report` events are taken for the decision to go on, and its rows for what was reported."""
    run = RunDirectory.create(tmp_path / "run", kind="sweep", spec={})
    for index, scores in enumerate([[0.1, 0.2, 0.3], [0.5, 0.6], [0.05]]):
        run.append_event({"event": "ask", "index": index, "choices": {}, "config": {}})
        run.trial(index).create({"index": index, "config": {}, "choices": {}})
        for epoch, score in enumerate(scores, start=1):
            run.trial(index).append_row({"epoch": epoch, METRIC: score, "alpha_loss": None, **HEALTHY})
            run.trial(index).append_time({"epoch": epoch, "start": 0.0, "end": 1.0, "host": "here", "pid": 1})
    for index, epoch in [(0, 1), (0, 2), (1, 1), (0, 3), (1, 2)]:
        run.append_event({"event": "report", "index": index, "epoch": epoch})
    open_whole(run.path)
    stage = open_stage(run, SCHEDULERS["asha"])
    decider: Any = stage.study._decider
    rungs = {milestone: dict(recorded) for milestone, recorded in decider.scheduler._brackets[0]._rungs}
    assert rungs[1] == {"0000": 0.1, "0001": 0.5, "0002": 0.05}
    assert rungs[2] == {"0000": 0.2, "0001": 0.6}
    assert [(trial.result() or {}).get("status") for trial in run.trials()] == [None, None, "stopped"]
    assert run.events()[-2:] == [
        {"event": "decide", "index": 2, "epoch": 1, "value": 0.05, "decision": "stop"},
        {"event": "tell", "index": 2, "outcome": {"status": "stopped", "value": 0.05, "reports": [[1, 0.05]]}},
    ]
