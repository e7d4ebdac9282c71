"""Searchers: the same calls give the same draws."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.errors import SpecError
from raydarts.runs.directory import RunDirectory
from raydarts.runs.results import read_trial
from raydarts.study.study import Outcome, ended
from raydarts.sweeping.searching import SearchStage
from tests.fault import fakes


def started(loaded: LoadedSpec) -> Any:
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    return searcher


def test_random_trial_i_depends_on_the_seed_and_i_alone() -> None:
    one, other = started(fakes.loaded()), started(fakes.loaded({"name": "random", "trials": 9}))
    forward = [one.propose(index).choices for index in range(4)]
    backward = [other.propose(index).choices for index in reversed(range(4))]
    assert forward == backward[::-1]
    assert len({choices["search.lr"] for choices in forward}) == 4
    assert started(fakes.loaded(seed=1)).propose(0).choices != forward[0]
    assert one.propose(4) is None


def score(choices: dict[str, Any]) -> Outcome:
    if choices["search.lr"] < 0.02:
        return Outcome("failed")
    if choices.get("search.estimator") == "first_order":
        return Outcome("stopped", 0.2, ((1, 0.1), (2, 0.2)))
    return Outcome("completed", choices["search.lr"])


NUMBERS_ALONE = {"epochs": 4, "lr": {"loguniform": [0.01, 0.5]}, "arch_lr": {"loguniform": [0.001, 0.1]}}


def study_of(sampler: str, trials: int, seed: int = 0, search: dict[str, Any] = fakes.SEARCH) -> list[dict[str, Any]]:
    """The draws of a whole study, each told its outcome before the next is asked for."""
    settings = {"name": "optuna", "trials": trials, "startup_trials": 5, "sampler": sampler}
    searcher = started(fakes.loaded(settings, seed=seed, search=search))
    asked = []
    for index in range(trials):
        asked.append(searcher.propose(index).choices)
        searcher.tell(index, score(asked[-1]))
    return asked


def test_optuna_gives_the_same_draws_for_the_same_answers_and_learns() -> None:
    first = study_of("tpe", 25)
    assert first == study_of("tpe", 25)
    assert sum(choices["search.estimator"] == "finite_difference" for choices in first[10:]) > 10


@pytest.mark.parametrize("sampler", ["gp", "nsga2", "qmc"])
def test_each_of_optunas_samplers_gives_the_same_draws_for_the_same_answers(sampler: str) -> None:
    def study(name: str, seed: int = 0) -> list[dict[str, Any]]:
        return study_of(name, 12, seed, NUMBERS_ALONE)

    first = study(sampler)
    assert first == study(sampler)
    assert first != study(sampler, seed=1)
    assert first[6:] != study("tpe")[6:]
    assert len({choices["search.lr"] for choices in first}) > 5  # a model returns to what was good


NUMBERS = """
data: {dataset: digits, limit: 100}
search: {epochs: 2, lr: {loguniform: [0.01, 0.1]}, space: {name: darts-cnn, channels: 2, layers: 3}%s}
sweep: {searcher: {name: optuna, trials: 12, sampler: %s}}
"""
XI = ", estimator: {choice: [first_order, {name: finite_difference, xi: {uniform: [0.01, 0.1]}}]}"
CHOICE = ", estimator: {choice: [first_order, finite_difference]}"


@pytest.mark.parametrize(
    ("sampler", "more", "refused"),
    [
        ("gp", XI, "sampler gp handles no setting that only some configurations have"),
        ("qmc", XI, "sampler qmc handles no setting that only some configurations have"),
        ("qmc", CHOICE, "sampler qmc handles numbers alone, and search.estimator is a choice"),
        ("random", "", "'tpe', 'gp', 'cmaes', 'nsga2' or 'qmc'"),
    ],
)
def test_a_sampler_is_refused_a_space_that_it_cannot_handle(
    tmp_path: Path, sampler: str, more: str, refused: str
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(NUMBERS % (more, sampler))
    with pytest.raises(SpecError, match=re.escape(refused)) as caught:
        load_spec(file)
    assert f"{file}:4: sweep.searcher" in str(caught.value)


@pytest.mark.parametrize(("sampler", "more"), [("gp", CHOICE), ("qmc", ""), ("nsga2", XI), ("tpe", XI)])
def test_a_sampler_takes_a_space_that_it_can_handle(tmp_path: Path, sampler: str, more: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(NUMBERS % (more, sampler))
    searcher = started(load_spec(file))
    assert searcher.propose(0).choices["search.lr"] > 0


def test_optuna_is_told_of_a_stopped_trial_as_pruned() -> None:
    searcher = started(fakes.loaded({"name": "optuna", "trials": 3}))
    outcomes = [
        Outcome("completed", 0.5),
        Outcome("stopped", 0.2, ((1, 0.1), (2, 0.2))),
        Outcome("failed"),
    ]
    for index, outcome in enumerate(outcomes):
        searcher.propose(index)
        searcher.tell(index, outcome)
    found = searcher._study.trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "PRUNED", "FAIL"]
    assert found[1].intermediate_values == {1: 0.1, 2: 0.2}


def run_trials(stage: SearchStage, count: int) -> None:
    for _ in range(count):
        trial = stage.next_trial()
        assert trial is not None
        lr = trial.description()["config"]["lr"]
        trial.append_row({"epoch": 1, "validation_accuracy": lr})
        trial.write_result({"status": "completed"})
        stage.ended(read_trial(trial))


@pytest.mark.parametrize("cut", ["between", "asked", "ran", "not written"])
def test_a_resumed_study_goes_on_as_one_never_cut(tmp_path: Path, cut: str) -> None:
    def fresh() -> Any:
        return fakes.loaded({"name": "optuna", "trials": 12, "startup_trials": 3})

    def stage(run: RunDirectory) -> SearchStage:
        return SearchStage(run, fresh())

    whole = RunDirectory.create(tmp_path / "whole", kind="sweep", spec={})
    run_trials(stage(whole), 12)
    run = RunDirectory.create(tmp_path / "cut", kind="sweep", spec={})
    first = stage(run)
    run_trials(first, 6)
    if cut != "between":
        trial = first.next_trial()
        assert trial is not None
        if cut == "ran":
            trial.append_row({"epoch": 1, "validation_accuracy": trial.description()["config"]["lr"]})
            trial.write_result({"status": "completed"})
        if cut == "not written":
            (trial.path / "trial.json").unlink()
    second = stage(run)
    left = second.remaining()
    assert left == (5 if cut == "ran" else 6)
    run_trials(second, left)
    assert second.next_trial() is None
    assert run.events() == whole.events()


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
@pytest.mark.parametrize("objective", ["validation_accuracy", ["validation_accuracy", "skips"]])
def test_constraints_and_objectives_are_those_of_optuna_alone(sampler: str, objective: Any) -> None:
    """The same proposals as a study of Optuna's own that is told the same figures and the same constraints."""
    several = isinstance(objective, list)
    trials = 9 if sampler == "gp" else 25
    loaded = fakes.loaded(
        {"name": "optuna", "sampler": sampler, "trials": trials, "startup_trials": 5},
        search={"epochs": 4, "lr": {"uniform": [0.0001, 1.0]}, "arch_lr": {"uniform": [0.0001, 1.0]}},
        objective=objective,
        constraints=[{"signal": "entropy", "most": 0.5}],
    )
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    ours = []
    for index in range(searcher.total()):
        draw = searcher.propose(index)
        assert draw is not None
        x, y = draw.choices["search.lr"], draw.choices["search.arch_lr"]
        ours.append((x, y))
        row = {"validation_accuracy": x, "skips": x * y, "entropy_mean": y}
        searcher.tell(index, ended(loaded.sweep.score, "completed", row))

    kinds: dict[str, Any] = {
        "tpe": lambda **held: optuna.samplers.TPESampler(
            multivariate=True, group=True, seed=0, n_startup_trials=5, **held
        ),
        "nsga2": lambda **held: optuna.samplers.NSGAIISampler(seed=0, population_size=5, **held),
        "gp": lambda **held: optuna.samplers.GPSampler(
            seed=0, n_startup_trials=5, deterministic_objective=False, **held
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kinds[sampler](constraints_func=lambda trial: trial.user_attrs["over"])
        study = optuna.create_study(sampler=made, directions=["maximize", "minimize"] if several else ["maximize"])
        theirs = []
        for _ in range(trials):
            trial = study.ask()
            x, y = trial.suggest_float("search.lr", 0.0001, 1.0), trial.suggest_float("search.arch_lr", 0.0001, 1.0)
            theirs.append((x, y))
            trial.set_user_attr("over", [(y - 0.5) / 0.5])
            study.tell(trial, [x, x * y] if several else x)
    assert ours == theirs
    feasible = [y <= 0.5 for _, y in ours[5:]]
    assert sum(feasible) > len(feasible) / 2, "half of the space is infeasible, and the sampler learns it"
