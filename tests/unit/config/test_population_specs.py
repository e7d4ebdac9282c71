"""What a spec with population based training is refused for, with file and line, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run_here

SPEC = """\
data: {dataset: digits, limit: 64}
search:
  seed: {grid: [0, 1]}
  epochs: 8
  batch_size: {grid: [8, 16]}
  lr: {loguniform: [0.01, 0.1]}
  space: {name: darts-cnn, channels: {grid: [2, 4]}, layers: 3, nodes: 1}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: {grid: [0.01, lr]}}
  regularizers: [{name: partial_channels, k: {grid: [1, 2]}}, {name: beta_decay, strength: {uniform: [0, 60]}}]
sweep:
  checkpoint_every: 1
  searcher: {name: random, trials: 8}
  scheduler:
    name: pbt
    every: 2
    perturb: []
"""
MAY = "search.lr, search.estimator[finite_difference].xi, search.regularizers.1.strength"


def validated(folder: Path, *changes: tuple[str, str]) -> tuple[int, str]:
    text = SPEC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "spec.yaml").write_text(text)
    outcome = run_here("validate", "spec.yaml", cwd=folder)
    return outcome.code, " ".join((outcome.out + outcome.err).split())


def test_a_plan_names_the_settings_that_change_while_trials_run(tmp_path: Path) -> None:
    code, text = validated(tmp_path)
    assert code == 0
    assert f"changes while trials run: {MAY}" in text


@pytest.mark.parametrize(
    "name",
    ["search.batch_size", "search.seed", "search.space.channels", "search.estimator", "search.regularizers.0.k"],
)
def test_a_setting_that_cannot_change_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    code, text = validated(tmp_path, ("perturb: []", f"perturb: [search.lr, '{name}']"))
    assert code == 2
    assert f"spec.yaml:19: sweep.scheduler.perturb.1: {name} cannot change while a search goes on" in text
    assert f"allowed here: {MAY}" in text


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path: Path) -> None:
    code, text = validated(tmp_path, ("perturb: []", "perturb: [search.lrr]"))
    assert code == 2
    assert "'search.lrr' is no swept setting of search; did you mean 'search.lr'?" in text


def test_a_search_without_a_setting_that_may_change_is_refused(tmp_path: Path) -> None:
    fixed = [("{loguniform: [0.01, 0.1]}", "0.1"), ("{grid: [0.01, lr]}", "lr"), ("{uniform: [0, 60]}", "5")]
    code, text = validated(tmp_path, *fixed)
    assert code == 2
    assert "spec.yaml:16: sweep.scheduler: pbt changes swept settings while trials run, and no swept setting" in text


@pytest.mark.parametrize(("change", "key"), [("every: 3", "every"), ("every: 2\n    burn_in: 5", "burn_in")])
def test_meetings_without_a_checkpoint_are_refused(tmp_path: Path, change: str, key: str) -> None:
    code, text = validated(tmp_path, ("every: 2", change), ("checkpoint_every: 1", "checkpoint_every: 2"))
    assert code == 2
    assert f"sweep.scheduler.{key}: trials meet after" in text
    assert "sweep.checkpoint_every is 2" in text


def test_replicates_are_refused_by_name(tmp_path: Path) -> None:
    code, text = validated(tmp_path, ("  seed: {grid: [0, 1]}\n", ""), ("sweep:", "sweep:\n  replicates: [0, 1]"))
    assert code == 2
    assert "sweep.scheduler: pbt copies a trial's weights and settings to another one" in text


def test_darts_ada_keeps_the_weight_decay_to_itself(tmp_path: Path) -> None:
    ada = ("{name: beta_decay, strength: {uniform: [0, 60]}}", "darts_ada")
    decay = ("  epochs: 8", "  epochs: 8\n  weight_decay: {loguniform: [0.0001, 0.001]}")
    code, text = validated(tmp_path, ada, decay, ("perturb: []", "perturb: [search.weight_decay]"))
    assert code == 2
    assert "search.weight_decay cannot change while a search goes on" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("every: 8", "sweep.scheduler.every is 8, and trials run at most 8 epochs: they never meet"),
        ("every: 2\n    burn_in: 1", "sweep.scheduler.burn_in is no more than every 2"),
    ],
)
def test_settings_that_do_nothing_are_told(tmp_path: Path, change: str, told: str) -> None:
    code, text = validated(tmp_path, ("every: 2", change))
    assert code == 0
    assert f"does nothing: {told}" in text


def test_a_model_based_searcher_that_proposes_all_at_once_is_told(tmp_path: Path) -> None:
    searcher = ("{name: random, trials: 8}", "{name: optuna, trials: 8, startup_trials: 2}")
    code, text = validated(tmp_path, searcher, ("{grid: [0, 1]}", "0"))
    assert code == 0
    assert "searcher optuna proposes none by a model of results" in text
