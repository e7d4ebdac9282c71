"""Distributions as W&B, Ray Tune, Optuna and others write them: the answer names the form to write here."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import load_spec
from raydarts.errors import SpecError


def answer(text: str, tmp_path: Path) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("form", "ours"),
    [
        ("{values: [0.1, 0.2]}", "{choice: [0.1, 0.2]}"),
        ("{values: [0.1, 0.2], probabilities: [0.5, 0.5]}", "{choice: [0.1, 0.2], weights: [0.5, 0.5]}"),
        ("{value: 0.1}", "a value stands by itself: write 0.1"),
        ("{min: 0.1, max: 0.2}", "{uniform: [0.1, 0.2]}"),
        ("{min: 1, max: 3}", "{randint: [1, 3]}, both ends included"),
        ("{distribution: log_uniform_values, min: 1e-4, max: 1e-1}", "{loguniform: [0.0001, 0.1]}"),
        ("{distribution: log_uniform, min: -9.21034, max: -2.302585}", "{loguniform: [0.0001, 0.1]}"),
        ("{distribution: q_uniform, min: 0.1, max: 0.5, q: 0.1}", "{quniform: [0.1, 0.5, 0.1]}"),
        ("{distribution: int_uniform, min: 1, max: 5}", "{randint: [1, 5]}"),
        ("{distribution: constant, value: 0.1}", "write 0.1"),
        ("{distribution: normal, mu: 0, sigma: 1}", "write {normal: [0, 1]}"),
        ("{distribution: normal}", "write {normal: [mean, sd]}"),
        ("{randn: [0, 1]}", "write {normal: [0, 1]}"),
        ("tune.randn(0.5, 0.1)", "write {normal: [0.5, 0.1]}"),
        ("\"hp.normal('lr', 0.5, 0.1)\"", "write {normal: [0.5, 0.1]}"),
        ("{_type: normal, _value: [0.5, 0.1]}", "write {normal: [0.5, 0.1]}"),
        ("{distribution: log_normal, mu: 0, sigma: 1}", "has no like here"),
        ("{distribution: q_log_uniform_values, min: 0.1, max: 1, q: 0.1}", "write {qloguniform: [0.1, 1, 0.1]}"),
        ("{distribution: q_log_uniform, min: 0, max: 2.302585, q: 1}", "write {qloguniform: [1.0, 10.0, 1]}"),
        ("tune.qloguniform(0.1, 1, 0.1)", "write {qloguniform: [0.1, 1, 0.1]}"),
        ("tune.lograndint(1, 10)", "write {qloguniform: [1, 10, 1]}"),
        ("tune.qlograndint(2, 10, 2)", "write {qloguniform: [2, 10, 2]}"),
        ("{type: int, low: 2, high: 64, step: 2, log: true}", "write {qloguniform: [2, 64, 2]}"),
        ("\"hp.loguniform('lr', -9.21034, -2.302585)\"", "write {loguniform: [0.0001, 0.1]}"),
        ("{grid_search: [0.1, 0.2]}", "{grid: [0.1, 0.2]}"),
        ("{categorical: [0.1, 0.2]}", "{choice: [0.1, 0.2]}"),
        ("{suggest_float: [0.1, 0.2]}", "{uniform: [0.1, 0.2]}"),
        ("{distribution: uniform, low: 0.1, high: 1}", "{uniform: [0.1, 1]}"),
        ("{type: float, low: 1e-4, high: 0.1, log: true}", "{loguniform: [0.0001, 0.1]}"),
        ("{type: categorical, choices: [0.1]}", "{choice: [0.1]}"),
        ("{type: range, bounds: [0.1, 0.2], log_scale: true}", "{loguniform: [0.1, 0.2]}"),
        ("{_type: loguniform, _value: [0.1, 0.2]}", "{loguniform: [0.1, 0.2]}"),
        ("{min: 0.1}", "{uniform: [low, high]}"),
        ("tune.loguniform(1e-4, 1e-1)", "{loguniform: [0.0001, 0.1]}"),
        ("ray.tune.choice([0.1, 0.2])", "{choice: [0.1, 0.2]}"),
        ("\"hp.uniform('lr', 0.1, 1)\"", "{uniform: [0.1, 1]}"),
        ("{uniform: {low: 0.1, high: 1}}", "write {uniform: [0.1, 1]}"),
        ("{loguniform: {min: 0.1, max: 1}}", "write {loguniform: [0.1, 1]}"),
        ("[0.1, 0.2]", "to try each of them write {grid: [0.1, 0.2]}"),
    ],
)
def test_the_answer_names_our_form(form: str, ours: str, tmp_path: Path) -> None:
    told = answer(f"search:\n  lr: {form}\n", tmp_path)
    assert told.startswith(f"{tmp_path}/s.yaml:2: search.lr: ")
    assert ours in told


def test_our_form_as_named_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("search: {lr: {loguniform: [0.0001, 0.1]}}\nsweep: {searcher: random}\n")
    assert len(load_spec(path).search.distributions()) == 1


def test_the_keys_of_a_wandb_sweep_file_are_each_answered(tmp_path: Path) -> None:
    told = answer(
        "program: t.py\nmethod: bayes\nmetric: {name: x}\nparameters: {lr: {min: 0}}\nearly_terminate: {}\n", tmp_path
    ).splitlines()
    for line, words in zip(told, ("no program", "searcher:", "objective: NAME", "under search", "asha"), strict=True):
        assert words in line


OUTSIDE = """
from raydarts import registry
from raydarts.search.probes.entropy import Entropy

class Mine(Entropy):
    NAME = "mine"
    class Settings(registry.Settings):
        bounds: dict[str, float] = {}
"""


def test_the_settings_of_a_class_from_outside_may_look_like_a_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_foreign_probe.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "s.yaml"
    path.write_text("search:\n  probes: [{name: 'my_foreign_probe:Mine', bounds: {min: 0, max: 1}}]\n")
    assert load_spec(path).search.is_constant


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("project", "a/b", "'a/b' is no W&B project: 1 to 128 characters, none of / \\ # ? % :; the part before"),
        ("project", "''", "is no W&B project"),
        ("project", '"a\\u202eb"', "is no W&B project"),
        ("project", "x" * 200, "is no W&B project"),
        ("entity", "my team", "'my team' is no W&B entity (a user or team): 1 to 128 letters, digits"),
        ("entity", "team/project", "the part after the / is the project"),
        ("entity", "'https://wandb.ai/x'", "is no W&B entity"),
        ("entity", "''", "is no W&B entity"),
    ],
)
def test_a_wandb_project_or_entity_is_checked_in_words(key: str, value: str, words: str, tmp_path: Path) -> None:
    told = answer(f"track:\n  wandb:\n    {key}: {value}\n", tmp_path)
    assert told.startswith(f"{tmp_path}/s.yaml:3: track.wandb.{key}: ")
    assert words in told
    assert "pattern" not in told
    assert "^[" not in told
