"""The search space for ConfigSpace: the written file, read with that library, is the space that raydarts sweeps."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import raydarts
from raydarts.config.configspace import FORMS, MOST_STEPS, as_configspace, point, write_configspace
from raydarts.config.distributions import KINDS, Tree
from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.config.open_values import OptionalItem, Options
from raydarts.errors import InputError, SpecError
from raydarts.runs.directory import RunDirectory
from tests.commands import run_here

pytest.importorskip("ConfigSpace")
from ConfigSpace import ConfigurationSpace

ROOT = Path(__file__).parents[3]
ALL_KINDS = """\
data: {dataset: digits, limit: 200}
search:
  epochs: {randint: [3, 6]}
  lr: {loguniform: [1.0e-6, 0.1]}
  weight_decay: {quniform: [0.001, 0.004, 0.001]}
  space: {name: darts-cnn, channels: 4, layers: 3}
  estimator:
    choice:
      - first_order
      - name: finite_difference
        xi: {choice: [lr, {uniform: [0.001, 0.5]}]}
        epsilon: {grid: [0.001, 0.01]}
  regularizers:
    choice: [[], [{name: drop_path, probability: {uniform: [0.1, 0.5]}}, {name: beta_decay, strength: {grid: [1, 2]}}]]
sweep: {searcher: {name: random, trials: 5}}
"""
NEWER_KINDS = """\
data: {dataset: digits, limit: 200}
search:
  epochs: {qloguniform: [3, 12, 1]}
  lr: {normal: [0.05, 0.009]}
  arch_lr: {tied_to: search.lr, times: 2}
  weight_decay: {normal: [0.001, 0.01, 0, 0.002]}
  space: {name: darts-cnn, channels: 4, layers: 3}
  estimator: {choice: [first_order, finite_difference], weights: [1, 3]}
  regularizers:
    - optional: {name: drop_path, probability: {uniform: [0.1, 0.5]}}
    - {name: beta_decay, strength: {grid: [1, 2]}}
sweep: {searcher: {name: random, trials: 5}}
"""
XI = "search.estimator[finite_difference].xi"


def spec(folder: Path, text: str = ALL_KINDS) -> Path:
    file = folder / "spec.yaml"
    file.write_text(text)
    return file


def exported(source: str | Path, folder: Path) -> Any:
    """The space that the command writes, as ConfigSpace reads it."""
    file = folder / "space.json"
    done = run_here("export", source, "--space", file)
    assert done.code == 0, done.err
    return ConfigurationSpace.from_json(file)


def test_every_kind_of_distribution_has_a_form() -> None:
    assert set(FORMS) == {*KINDS, OptionalItem.KIND}


def test_each_kind_is_written_as_what_it_is(tmp_path: Path) -> None:
    space = exported(spec(tmp_path), tmp_path)
    assert space.name == "spec"
    found = {each["name"]: each for each in json.loads((tmp_path / "space.json").read_text())["hyperparameters"]}
    drop, decay = (f"search.regularizers[drop_path+beta_decay].{end}" for end in ("0.probability", "1.strength"))
    assert set(found) == {
        *(f"search.{name}" for name in ("epochs", "lr", "weight_decay", "estimator", "regularizers")),
        *(XI, f"{XI}[uniform]", "search.estimator[finite_difference].epsilon", drop, decay),
    }

    def said(name: str, *keys: str) -> list[Any]:
        return [found[name][key] for key in ("type", *keys)]

    assert said("search.epochs", "lower", "upper") == ["uniform_int", 3, 6]
    assert said("search.lr", "lower", "upper", "log") == ["uniform_float", 1e-6, 0.1, True]
    assert said(drop, "lower", "upper", "log") == ["uniform_float", 0.1, 0.5, False]
    assert said("search.weight_decay", "sequence") == ["ordinal", [0.001, 0.002, 0.003, 0.004]]
    assert said(XI, "choices", "meta") == [
        "categorical",
        ["lr", "uniform"],
        {"kind": "choice"},
    ]
    assert said(decay, "choices", "meta") == [
        "categorical",
        ["1", "2"],
        {"kind": "grid"},
    ]
    conditions = {(each.child.name, each.parent.name, str(each.value)) for each in space.conditions}
    assert conditions == {
        (XI, "search.estimator", "finite_difference"),
        (f"{XI}[uniform]", XI, "uniform"),
        ("search.estimator[finite_difference].epsilon", "search.estimator", "finite_difference"),
        (drop, "search.regularizers", "drop_path+beta_decay"),
        (decay, "search.regularizers", "drop_path+beta_decay"),
    }


def test_newer_kinds_are_written_as_what_they_are(tmp_path: Path) -> None:
    space = exported(spec(tmp_path, NEWER_KINDS), tmp_path)
    found = {each["name"]: each for each in json.loads((tmp_path / "space.json").read_text())["hyperparameters"]}
    epochs, lr, decay = (found[f"search.{name}"] for name in ("epochs", "lr", "weight_decay"))
    assert [epochs[key] for key in ("type", "lower", "upper", "log")] == ["uniform_int", 3, 12, True]
    assert [lr[key] for key in ("type", "mu", "sigma")] == ["normal_float", 0.05, 0.009]
    assert [decay[key] for key in ("mu", "sigma", "lower", "upper")] == [0.001, 0.01, 0.0, 0.002]
    assert "search.arch_lr" not in found
    assert found["search.regularizers.0"]["choices"] == ["absent", "drop_path"]
    assert {(each.child.name, each.parent.name, str(each.value)) for each in space.conditions} == {
        ("search.regularizers.0[drop_path].probability", "search.regularizers.0", "drop_path")
    }
    space.seed(0)
    sampled = [dict(each)["search.estimator"] for each in space.sample_configuration(400)]
    assert 0.68 < sampled.count("finite_difference") / 400 < 0.82
    steps = NEWER_KINDS.replace("[3, 12, 1]", "[4, 12, 2]")
    done = run_here("export", spec(tmp_path, steps), "--space", tmp_path / "space.json")
    assert (done.code, "it has no steps in a logarithm" in done.err) == (2, True), done.err


@pytest.mark.parametrize("source", ["all kinds", "newer kinds", "quick", "cnn", "rnn", "remedies"])
def test_each_of_200_sampled_configurations_is_one_of_the_sweep(tmp_path: Path, source: str) -> None:
    own = {"all kinds": ALL_KINDS, "newer kinds": NEWER_KINDS}
    file = spec(tmp_path, own[source]) if source in own else ROOT / f"sweeps/{source}.yaml"
    loaded = load_spec(file, absent_data=True)
    space = exported(file, tmp_path)
    known = {each.name: each for each in loaded.search.distributions()}
    assert set(space) == set(known)
    assert {condition.child.name for condition in space.conditions} == {
        each.name for each in known.values() if each.condition is not None
    }
    space.seed(0)
    seen: set[str] = set()
    for configuration in space.sample_configuration(200):
        values = dict(configuration)
        seen |= set(values)
        choices = chosen(loaded, point(loaded.search, values))
        assert set(choices) == set(values)
        for name, value in values.items():
            same(known[name].distribution, choices[name], value)
    assert seen == set(known), "each open setting was open in one of them"


def chosen(loaded: LoadedSpec, found: dict[str, Any]) -> dict[str, Any]:
    """The choices of a point, as `sweep.points` reads it."""
    from raydarts.config.located import located

    draw = located(loaded.search, found)
    assert not isinstance(draw, list), draw
    return draw.choices


def same(distribution: Any, choice: Any, value: Any) -> None:
    """Whether a choice of raydarts' is the value of ConfigSpace's."""
    if isinstance(distribution, Options):
        assert (choice if isinstance(choice, str) else json.dumps(choice)) == str(value)
    else:
        assert math.isclose(choice, value, rel_tol=1e-12)
        assert distribution.low <= choice <= distribution.high
        assert isinstance(choice, int) == (distribution.KIND in ("randint", "qloguniform"))


def test_a_point_goes_into_sweep_points(tmp_path: Path) -> None:
    values = {"search.epochs": 4, "search.lr": 0.02, "search.weight_decay": 0.003, "search.regularizers": "none"}
    values |= {"search.estimator": "finite_difference", XI: "lr", "search.estimator[finite_difference].epsilon": "0.01"}
    found = raydarts.point(spec(tmp_path), values)
    assert found["estimator"] == {"name": "finite_difference", "xi": "lr", "epsilon": 0.01}
    loaded = load_spec(spec(tmp_path, f"{ALL_KINDS.rstrip()[:-1]}, points: [{json.dumps(found)}]}}\n"))
    assert loaded.points[0].choices["search.estimator"] == "finite_difference"
    assert loaded.points[0].choices["search.epochs"] == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"search.lr": 0.2}, "search.lr is 0.2, which is outside; allowed: loguniform: 1e-06, 0.1"),
        ({"search.lr": None}, "search.lr: None is no number"),
        ({"search.weight_decay": 0.0015}, "search.weight_decay is 0.0015, which is between two steps"),
        ({"search.estimator": "third"}, "search.estimator: third is none of its options: first_order, finite_diff"),
        ({"search.estimator": "finite_difference"}, f"{XI}: the configuration has no value for it"),
        ({XI: "lr", "search.more": 1}, f"{XI}, search.more: no such setting is open"),
    ],
)
def test_what_is_none_of_the_sweep_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    values = {"search.epochs": 4, "search.lr": 0.02, "search.weight_decay": 0.003, "search.regularizers": "none"}
    values |= {"search.estimator": "first_order"}
    raydarts.point(spec(tmp_path), values)
    with pytest.raises((InputError, SpecError), match=re.escape(message)):
        raydarts.point(spec(tmp_path), values | changed)


def test_a_run_has_the_space_of_its_spec(tmp_path: Path) -> None:
    loaded = load_spec(spec(tmp_path))
    run = RunDirectory.create(tmp_path / "one", kind="sweep", spec=loaded.to_plain())
    of_run, of_spec = exported(run.path, tmp_path), exported(spec(tmp_path), tmp_path)
    assert of_run.name == "one"
    assert dict(of_run) == dict(of_spec)
    assert set(map(str, of_run.conditions)) == set(map(str, of_spec.conditions)) != set()


def test_what_cannot_be_written_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = spec(tmp_path)
    done = run_here("export", file, "--space", tmp_path / "space.pcs")
    assert (done.code, "the file's name must end in .json" in done.err) == (2, True)
    for more in (["--epochs"], ["--seed", "1"], ["--to", tmp_path / "a.csv"]):
        done = run_here("export", file, "--space", tmp_path / "space.json", *more)
        assert (done.code, "leave it out" in done.err or "give one of" in done.err) == (2, True), done.err
    done = run_here("export", file, "--space", tmp_path / "no/space.json")
    assert (done.code, "cannot be written: No such file or directory" in done.err) == (2, True)
    steps = ALL_KINDS.replace("[0.001, 0.004, 0.001]", "[0, 0.5, 0.000001]")
    done = run_here("export", spec(tmp_path, steps), "--space", tmp_path / "space.json")
    assert (done.code, f"500,001; at most {MOST_STEPS:,}" in done.err) == (2, True), done.err
    with pytest.raises(InputError, match="nothing is open under search"):
        as_configspace(Tree(load_spec(file).search.root.items[3], "search"), "fixed")
    monkeypatch.setitem(sys.modules, "ConfigSpace", None)
    with pytest.raises(InputError, match=r"pip install 'raydarts\[configspace\]'"):
        write_configspace(load_spec(file).search, "spec", tmp_path / "space.json")
    assert not (tmp_path / "space.json").exists()


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/spec.md").read_text()
    (code,) = [each for each in re.findall(r"```python\n(.*?)```", page, re.S) if "raydarts.point" in each]
    exported(ROOT / "sweeps/quick.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["points"]) == 3
    assert {each["estimator"]["name"] for each in names["points"]} <= {"first_order", "finite_difference"}
