"""Rungs of several objectives: who is stopped, who never is, and what a driver that died leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raydarts.registry import Choose
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.results import read_trial
from raydarts.schedulers.base import Horizon
from raydarts.study.history import Decision, Report
from raydarts.study.objectives import SearchScore
from raydarts.study.scheduling import Decider
from raydarts.sweeping.searching import SearchStage
from tests.fault import fakes
from tests.unit.schedulers.scripted import HEALTHY, value

EPOCHS = 9
HALVING = {"name": "moasha", "grace_period": 2, "reduction_factor": 2}


def score() -> SearchScore:
    accuracy, size = (Choose("objective").parse(name).build().score() for name in ("validation_accuracy", "parameters"))
    return replace(accuracy, more=(size,))


def decider(scheduler: dict[str, Any] | None = None, epochs: int = EPOCHS) -> Decider:
    horizon = Horizon(score(), epochs, 0)
    built: Decider = Choose("scheduler").parse(scheduler or HALVING).build().build(horizon)
    return built


def decisions(points: list[tuple[float, float]], epoch: int = 2) -> list[str]:
    """What is decided on trials that come to an epoch one after the other: accuracy and size of each."""
    one = decider()
    answers = []
    for number, point in enumerate(points):
        one.add(f"{number:04d}", {}, {})
        answers.append(str(one.decide(Report(f"{number:04d}", epoch, point[0], point)).decision))
    return answers


def test_a_trial_is_stopped_behind_the_better_half_of_the_fronts() -> None:
    # The first comes alone. The second is on the front beside it. The third is dominated by the first, and last of
    # three. The fourth dominates all. The fifth is on the second front: two of five may be better, and one is.
    answers = decisions([(0.8, 5.0), (0.6, 2.0), (0.7, 6.0), (0.9, 1.0), (0.85, 1.5)])
    assert answers == ["continue", "continue", "stop", "continue", "continue"]


def test_on_one_front_the_crowded_trial_is_stopped_and_the_end_is_not() -> None:
    front = [(0.9, 9.0), (0.1, 1.0), (0.5, 5.0)]
    assert decisions([*front, (0.52, 5.1)])[-1] == "stop", "two ends and a lonely one are before it"
    assert decisions([*front, (0.95, 9.5)])[-1] == "continue", "it is the new end"


def test_nothing_is_decided_between_rungs_and_without_figures() -> None:
    assert decisions([(0.9, 1.0), (0.1, 9.0)], epoch=1) == ["continue", "continue"]
    one = decider()
    one.add("0000", {}, {})
    assert one.decide(Report("0000", 2, 0.5, None)).decision is Decision.CONTINUE
    one.decide(Report("0000", 3, 0.5, (0.5, 1.0)))
    one.add("0001", {}, {})
    assert one.decide(Report("0001", 2, 0.1, (0.1, 2.0))).decision is Decision.STOP, "the late row counts for the rung"


def test_no_rung_is_after_max_epochs() -> None:
    one = decider({**HALVING, "max_epochs": 4})
    one.add("0000", {}, {})
    assert [one.decide(Report("0000", epoch, 1.0, (1.0, 1.0))).decision for epoch in (2, 3, 4)] == [
        Decision.CONTINUE,
        Decision.CONTINUE,
        Decision.STOP,
    ]


@pytest.mark.parametrize("brackets", [1, 2])
def test_one_objective_is_ranked_too(brackets: int) -> None:
    accuracy = Choose("objective").parse("validation_accuracy").build().score()
    scheduler = {**HALVING, "brackets": brackets, "reduction_factor": 2}
    one = Choose("scheduler").parse(scheduler).build().build(Horizon(accuracy, EPOCHS, 0))
    answers = []
    for number in range(12):
        one.add(f"{number:04d}", {}, {})
        answers.append(one.decide(Report(f"{number:04d}", 4, 1.0 - number / 100)).decision)
    assert answers[0] is Decision.CONTINUE
    assert answers.count(Decision.STOP) >= 9


class Killed(BaseException):
    """A driver dies here."""


def opened(run: RunDirectory) -> SearchStage:
    loaded = fakes.loaded(
        {"name": "optuna", "sampler": "nsga2", "trials": 16, "startup_trials": 4},
        {**HALVING, "grace_period": 1},
        base={"epochs": EPOCHS},
        objective=["healthy_accuracy", "parameters"],
        constraints=[{"signal": "skips", "most": 6}],
    )
    return SearchStage(run, loaded)


def row_of(trial: TrialDirectory, epoch: int) -> dict[str, Any]:
    """Accuracy and size go against one another. Every fifth trial breaks the constraint."""
    number = int(trial.id)
    accuracy = value(0, trial.id, epoch)
    size = 1000 * (1 + (number % 7)) * (0.5 + accuracy)
    skips = 7 if number % 5 == 4 else 2
    facts = {"validation_accuracy": accuracy, "parameters": size, "skips": skips, **HEALTHY}
    return {"epoch": epoch, **facts, "genotype": fakes.genotype(2)}


def go(stage: SearchStage, reports: int) -> None:
    """Runs one trial after the other until that many epochs have been reported. Raises `Killed` then."""
    while (trial := stage.next_trial()) is not None:
        for epoch in range(len(trial.rows()) + 1, EPOCHS + 1):
            if reports == 0:
                raise Killed
            reports -= 1
            trial.append_row(row_of(trial, epoch))
            if epoch < EPOCHS and stage.reported(trial, epoch, trial.rows()[-1]) is Decision.STOP:
                trial.write_result({"status": "stopped", "epochs": epoch})
                break
        else:
            trial.write_result({"status": "completed", "epochs": EPOCHS})
        stage.ended(read_trial(trial))


def test_a_sweep_that_was_killed_many_times_decides_as_one_never_killed(tmp_path: Path) -> None:
    whole = RunDirectory.create(tmp_path / "whole", kind="sweep", spec={})
    go(opened(whole), 10_000)
    cut = RunDirectory.create(tmp_path / "cut", kind="sweep", spec={})
    kills = 0
    for reports in [*range(1, 9), 10_000]:
        try:
            go(opened(cut), reports)
        except Killed:
            kills += 1
    assert kills == 8
    assert cut.events() == whole.events()
    outcomes = [event["outcome"] for event in whole.events() if event["event"] == "tell"]
    assert {each["status"] for each in outcomes} == {"completed", "stopped"}
    assert all(len(each["values"]) == 2 for each in outcomes)
    assert len(outcomes[0]["excesses"]) == 5, "four health bars and the constraint"
    assert all("values" in event for event in whole.events() if event["event"] == "decide")
    broke = [each for number, each in enumerate(outcomes) if number % 5 == 4]
    assert all(each["status"] == "stopped" for each in broke), "they are behind all that keep the constraint"
