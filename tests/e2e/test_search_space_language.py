"""A sweep of every form of the search-space language, as a user runs it: trials, reports, journal, resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from raydarts.runs.directory import RunDirectory
from tests.commands import Outcome, run_here
from tests.here import sweeps_run_here

SPEC = """
data: {dataset: digits, limit: 100}
search:
  epochs: 1
  batch_size: {qloguniform: [8, 32, 8]}
  lr: {normal: [0.05, 0.05, 0.001, 0.3]}
  arch_lr: {tied_to: search.lr, times: 0.1}
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
  estimator:
    choice: [first_order, {name: finite_difference, xi: {tied_to: search.lr}}]
    weights: [2, 1]
  regularizers:
    - optional: {name: beta_decay, strength: {loguniform: [0.1, 10]}}
    - {name: drop_path, probability: {uniform: [0.1, 0.3]}}
sweep:
  searcher: {name: optuna, trials: 8, startup_trials: 4}
  halt: false
track: {optuna_journal: true}
"""
PROBABILITY = "search.regularizers.1[drop_path].probability"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("language")
    (folder / "s.yaml").write_text(SPEC)
    with sweeps_run_here():
        done = run_here("sweep", "s.yaml", "--storage", "runs", "--name", "one", cwd=folder)
        assert done.code == 0, done.err
        yield folder


def told(*words: object, folder: Path) -> Outcome:
    done = run_here(*words, cwd=folder)
    assert done.code == 0, done.err
    return done


def descriptions(folder: Path) -> list[dict[str, Any]]:
    return [dict(trial.description()) for trial in RunDirectory.open(folder / "runs" / "one").trials()]


def test_each_trial_has_the_numbers(folder: Path) -> None:
    configs = [each["config"] for each in descriptions(folder)]
    assert len(configs) == 8
    for config in configs:
        assert config["arch_lr"] == config["lr"] * 0.1
        assert config["batch_size"] % 8 == 0
        assert 0.001 <= config["lr"] <= 0.3
        if config["estimator"]["name"] == "finite_difference":
            assert config["estimator"]["xi"] == config["lr"]
    assert {len(config["regularizers"]) for config in configs} == {1, 2}


def test_the_report_names_the_settings(folder: Path) -> None:
    shown = told("report", "runs/one", folder=folder).out
    for words in ("batch_size", "regularizers, item 1", "absent", "drop_path.probability", "beta_decay.strength"):
        assert words in shown
    assert "arch_lr" not in shown, "what is tied is not swept"
    told("report", "runs/one", "--html", "--out", "r.html", folder=folder)
    assert "drop_path.probability" in (folder / "r.html").read_text()
    told("export", "runs/one", "--to", "t.csv", folder=folder)
    assert "drop_path" in (folder / "t.csv").read_text()


def test_the_optuna_journal_has_the_values_themselves(folder: Path) -> None:
    journal = optuna.storages.journal.JournalFileBackend(str(folder / "runs" / "one" / "optuna.log"))
    (study,) = optuna.get_all_study_summaries(optuna.storages.JournalStorage(journal))
    trials = optuna.load_study(study_name=study.study_name, storage=optuna.storages.JournalStorage(journal)).trials
    run = RunDirectory.open(folder / "runs" / "one")
    assert len(trials) == 8
    for trial in trials:
        description = run.trial(int(trial.user_attrs["raydarts.trial"])).description()
        assert trial.params == description["choices"]
        assert trial.distributions["search.lr"] == optuna.distributions.FloatDistribution(0.001, 0.3)
        labels = optuna.distributions.CategoricalDistribution(["first_order", "finite_difference"])
        assert trial.distributions["search.estimator"] == labels
        assert isinstance(trial.params[PROBABILITY], float)


def test_a_resume_has_nothing_left_to_do_and_a_dry_run_shows_all_forms(folder: Path) -> None:
    before = descriptions(folder)
    told("resume", "runs/one", folder=folder)
    assert descriptions(folder) == before
    shown = " ".join(told("sweep", "s.yaml", "--dry-run", folder=folder).out.replace("│", " ").split())
    for words in (
        "normal: 0.05, 0.05, from 0.001 to 0.3",
        "qloguniform: 8, 32, 8",
        "choice: first_order, finite_difference; weights 2, 1",
        "optional: absent, beta_decay",
        "tied to search.lr, times 0.1",
    ):
        assert words in shown
