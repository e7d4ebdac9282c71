"""The handler that gives an executor groups of trials: what it answers, and what the handler behind it hears."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from raydarts.execution.executor import Loss, NotNow, TrialConfig
from raydarts.execution.grouping import GroupHandler
from raydarts.runs import faults
from raydarts.runs.directory import RunDirectory
from raydarts.runs.groups import read_group


class Trials:
    """Gives the trials of these kinds, in order, and notes what it hears. `stops`: trials that must not go on."""

    def __init__(self, run: RunDirectory, kinds: list[str | None]) -> None:
        self._run = run
        self._waiting = list(enumerate(kinds))
        self.stops: set[str] = set()
        self.heard: list[tuple[str, str]] = []
        self.names: dict[str, str] = {}

    def start(self, key: str, like: str | None = None) -> TrialConfig | NotNow:
        for number, (index, kind) in enumerate(self._waiting):
            if like in (None, kind):
                del self._waiting[number]
                trial = self._run.trial(index)
                if not trial.exists:
                    trial.create({"index": index, "config": {}, "choices": {}})
                self.names[key] = trial.id
                return {"id": trial.id, "directory": str(trial.path), "max_failures": 3, "kind": kind}
        return NotNow.NEVER

    def reported(self, key: str, row: Mapping[str, object]) -> bool:
        self.heard.append(("reported", self.names[key]))
        return self.names[key] not in self.stops and not row["done"]

    def lost(self, key: str, loss: Loss, again: bool) -> None:
        self.heard.append(("lost" if again else "given up", self.names[key]))
        if again and loss.what:
            faults.note(self._run.trial(int(self.names[key])), loss.what, loss.message)

    def ended(self, key: str) -> None:
        self.heard.append(("ended", self.names[key]))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", kind="sweep", spec={})


def lanes_of(run: RunDirectory, key: str) -> list[str]:
    return list(read_group(run, key).values())


def epoch(run: RunDirectory, key: str, *done: str) -> dict[str, object]:
    """What a group's process says after an epoch. `done`: trials that have ended."""
    lanes = {lane: {"epoch": 1, "done": trial in done} for lane, trial in read_group(run, key).items()}
    return {"epoch": 1, "lanes": lanes, "done": all(each["done"] for each in lanes.values())}


def test_trials_of_one_kind_are_given_together_and_others_alone(run: RunDirectory) -> None:
    trials = Trials(run, ["a", "b", "a", None, "a", "a"])
    handler = GroupHandler(trials, run, 3)
    first, second, third, fourth = (handler.start(key) for key in ("g0", "g1", "g2", "g3"))
    assert isinstance(first, dict)
    assert (first["id"], first["group"]) == ("0000-of-3", "g0")
    assert "directory" not in first
    assert lanes_of(run, "g0") == ["0000", "0002", "0004"]
    assert isinstance(second, dict)
    assert lanes_of(run, "g1") == ["0001"]
    assert isinstance(third, dict)
    assert third["id"] == "0003"
    assert "group" not in third
    assert isinstance(fourth, dict)
    assert lanes_of(run, "g3") == ["0005"]
    assert handler.start("g4") is NotNow.LATER, "a trial that runs may have to be given again"
    for key in ("g0", "g1", "g3"):
        assert handler.reported(key, epoch(run, key, "0000", "0001", "0002", "0004", "0005")) is False
        handler.ended(key)
    assert handler.reported("g2", {"epoch": 1, "done": True}) is False
    handler.ended("g2")
    assert handler.start("g4") is NotNow.NEVER
    assert lanes_of(run, "g0") == []
    assert sorted(name for what, name in trials.heard if what == "ended") == [f"{index:04d}" for index in range(6)]


def test_a_trial_that_must_not_go_on_leaves_at_once_and_the_next_takes_its_place(run: RunDirectory) -> None:
    trials = Trials(run, ["a"] * 5)
    handler = GroupHandler(trials, run, 3)
    handler.start("g")
    trials.stops = {"0001"}
    assert handler.reported("g", epoch(run, "g", "0002")) is True
    assert trials.heard == [("reported", "0000"), ("reported", "0001"), ("ended", "0001"), ("reported", "0002"),
                            ("ended", "0002")]  # fmt: skip
    assert lanes_of(run, "g") == ["0000", "0003", "0004"]
    assert handler.reported("g", epoch(run, "g", "0000", "0003")) is True
    assert lanes_of(run, "g") == ["0004"], "no other waits: the group goes on smaller"


def test_no_more_trials_run_than_may(run: RunDirectory) -> None:
    handler = GroupHandler(Trials(run, ["a"] * 6), run, 2, most=3)
    handler.start("g")
    handler.start("h")
    assert (lanes_of(run, "g"), lanes_of(run, "h")) == (["0000", "0001"], ["0002"])
    assert handler.start("i") is NotNow.LATER


def test_a_group_that_was_lost_for_half_of_the_attempts_goes_on_as_trials_alone(run: RunDirectory) -> None:
    trials = Trials(run, ["a"] * 4)
    handler = GroupHandler(trials, run, 3)
    handler.start("g")
    handler.lost("g", Loss(faults.PREEMPTED, "taken back"), again=True)
    handler.lost("g", Loss(faults.LOST, "gone"), again=True)
    assert lanes_of(run, "g") == ["0000", "0001", "0002"], "the same group, so that its figures are the same"
    handler.lost("g", Loss(faults.LOST, "gone"), again=True)
    assert lanes_of(run, "g") == ["0000"]
    alone = [handler.start(key) for key in ("h", "i")]
    assert [each["id"] for each in alone if isinstance(each, dict)] == ["0001", "0002"]
    assert not any("group" in each for each in alone if isinstance(each, dict))
    assert handler.reported("g", epoch(run, "g")) is True
    assert lanes_of(run, "g") == ["0000"], "nor does it take in another"


def test_a_group_that_is_given_up_takes_only_those_with_it_that_were_lost_too_often(run: RunDirectory) -> None:
    """The executor counts outages of the storage too, which are no trial's fault."""
    trials = Trials(run, ["a", "a"])
    handler = GroupHandler(trials, run, 2)
    handler.start("g")
    for _ in range(3):
        faults.note(run.trial(1), faults.LOST, "in an earlier driver")
    handler.lost("g", Loss(faults.LOST, "gone"), again=False)
    assert trials.heard == [("lost", "0000"), ("lost", "0001"), ("given up", "0001")]
    again = handler.start("h")
    assert isinstance(again, dict)
    assert lanes_of(run, "h") == ["0000"]


def test_a_trial_that_came_when_the_process_had_ended_is_given_again(run: RunDirectory) -> None:
    handler = GroupHandler(Trials(run, ["a", "a"]), run, 2)
    handler.start("g")
    assert handler.reported("g", {"epoch": 1, "lanes": {}, "done": True}) is False
    handler.ended("g")
    assert isinstance(handler.start("h"), dict)
    assert lanes_of(run, "h") == ["0000", "0001"]


def test_what_an_earlier_driver_left_is_removed(run: RunDirectory) -> None:
    GroupHandler(Trials(run, ["a", "a"]), run, 2).start("old")
    assert lanes_of(run, "old") == ["0000", "0001"]
    GroupHandler(Trials(run, []), run, 2)
    assert lanes_of(run, "old") == []
