"""What every searcher does: proposes within the space, repeats itself, tries given configurations first, is resumed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.beforehand import Earlier
from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec, load_plain
from raydarts.config.located import located
from raydarts.errors import SpecError
from raydarts.registry import members
from raydarts.runs.directory import RunDirectory
from raydarts.runs.results import read_trial
from raydarts.sweeping.searching import SearchStage
from tests.commands import run_here
from tests.fault import fakes

NUMBERS = {"epochs": 4, "lr": {"loguniform": [0.01, 0.5]}, "arch_lr": {"loguniform": [0.001, 0.1]}}
FINITE = {"epochs": 4, "lr": {"grid": [0.1, 0.2, 0.3, 0.4, 0.5]}, "batch_size": {"grid": [8, 16]}}
TRIALS = 12

SPACES: dict[str, Mapping[str, Any]] = {"grid": FINITE}
SEARCHERS: dict[str, Any] = {
    "grid": "grid",
    "random": {"name": "random", "trials": TRIALS},
    **{
        sampler: {"name": "optuna", "sampler": sampler, "trials": 7 if sampler == "gp" else TRIALS, "startup_trials": 4}
        for sampler in ("tpe", "gp", "cmaes", "nsga2", "qmc")
    },
    "from outside": {"name": "nearby:Nearby", "trials": TRIALS},
}
LEARNING = ("tpe", "gp", "cmaes", "from outside")
PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture(scope="module", autouse=True)
def nearby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The searcher of docs/plugins.md, as a module that a user wrote."""
    (example,) = re.findall(r"### A searcher that fits a model\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    folder = tmp_path_factory.mktemp("outside")
    (folder / "nearby.py").write_text(example)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    sys.modules.pop("nearby", None)


each_searcher = pytest.mark.parametrize("name", list(SEARCHERS))


def spec(name: str, **sweep: Any) -> LoadedSpec:
    return fakes.loaded(SEARCHERS[name], search=SPACES.get(name, NUMBERS), **sweep)


def points(name: str) -> list[dict[str, Any]]:
    if name == "grid":
        return [{"lr": 0.3, "batch_size": 16}, {"lr": 0.5, "batch_size": 8}]
    return [{"lr": 0.025, "arch_lr": 0.003}, {"lr": 0.5, "arch_lr": 0.001}]


def run_trials(stage: SearchStage, count: int) -> list[dict[str, Any]]:
    """Runs trials whose value is best at lr 0.2. Returns their configurations."""
    configs = []
    for _ in range(count):
        trial = stage.next_trial()
        if trial is None:
            break
        configs.append(trial.description()["config"])
        trial.append_row({"epoch": 1, "validation_accuracy": 1 - abs(configs[-1]["lr"] - 0.2)})
        trial.write_result({"status": "completed"})
        stage.ended(read_trial(trial))
    return configs


def begun(folder: Path, loaded: LoadedSpec) -> RunDirectory:
    """A run as `raydarts sweep` makes it, without Ray."""
    more = {} if loaded.earlier is None else {"earlier": loaded.earlier.to_json()}
    return RunDirectory.create(folder, kind="sweep", spec=loaded.to_plain(), more=more)


def test_every_shipped_searcher_is_under_this_contract() -> None:
    named = {each["name"] if isinstance(each, dict) else each for each in SEARCHERS.values()}
    assert set(members("searcher")) == {name for name in named if ":" not in name}
    samplers = members("searcher")["optuna"].Settings.model_json_schema()["properties"]["sampler"]["enum"]
    assert set(samplers) <= set(SEARCHERS)


@each_searcher
def test_proposals_lie_in_the_space_and_are_as_many_as_announced(tmp_path: Path, name: str) -> None:
    loaded = spec(name)
    stage = SearchStage(begun(tmp_path / "run", loaded), loaded)
    total = stage.total()
    configs = run_trials(stage, total + 1)
    assert len(configs) == total
    for config in configs:
        draw = located(loaded.search, config)
        assert isinstance(draw, Draw), draw
        assert loaded.settings_of(draw).model_dump(mode="json") == config


@each_searcher
def test_given_points_are_the_first_trials_and_count(tmp_path: Path, name: str) -> None:
    plain, loaded = spec(name), spec(name, points=points(name))
    stage = SearchStage(begun(tmp_path / "run", loaded), loaded)
    assert stage.total() == SearchStage(begun(tmp_path / "plain", plain), plain).total()
    configs = run_trials(stage, 20)
    for point, config in zip(points(name), configs, strict=False):
        assert {key: config[key] for key in point} == point
    assert len(configs) == stage.total()
    if name == "grid":
        assert len({json.dumps(config) for config in configs}) == len(configs), "no combination is tried twice"


@each_searcher
def test_a_resumed_searcher_goes_on_as_one_never_cut(tmp_path: Path, name: str) -> None:
    loaded = spec(name, points=points(name))
    whole, cut = begun(tmp_path / "whole", loaded), begun(tmp_path / "cut", loaded)
    run_trials(SearchStage(whole, loaded), 99)
    run_trials(SearchStage(cut, loaded), 1)  # a given point
    run_trials(SearchStage(cut, loaded), 6)  # and what the searcher proposes
    again = load_plain(cut.description()["spec"], "run.json")
    run_trials(SearchStage(cut, again), 99)
    assert cut.events() == whole.events()


WHOLE_LANGUAGE = {
    "epochs": 4,
    "lr": {"normal": [0.2, 0.1, 0.01, 0.5]},
    "arch_lr": {"tied_to": "search.lr", "times": 0.01},
    "batch_size": {"qloguniform": [8, 64, 8]},
    "momentum": {"choice": [0.8, 0.9, 0.95], "weights": [4, 2, 1]},
    "regularizers": [
        {"optional": {"name": "beta_decay", "strength": {"loguniform": [0.1, 10]}}},
        {"name": "drop_path", "probability": {"quniform": [0.1, 0.3, 0.1]}},
    ],
}


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2"])
def test_of_every_form_of_the_language_a_resumed_searcher_goes_on_as_one_never_cut(tmp_path: Path, name: str) -> None:
    point = {"lr": 0.3, "batch_size": 16, "momentum": 0.8, "regularizers": [{"name": "drop_path", "probability": 0.2}]}
    loaded = fakes.loaded(SEARCHERS[name], search=WHOLE_LANGUAGE, points=[point])
    whole, cut = begun(tmp_path / "whole", loaded), begun(tmp_path / "cut", loaded)
    configs = run_trials(SearchStage(whole, loaded), 99)
    run_trials(SearchStage(cut, loaded), 6)
    run_trials(SearchStage(cut, load_plain(cut.description()["spec"], "run.json")), 99)
    assert cut.events() == whole.events()
    assert (configs[0]["lr"], configs[0]["arch_lr"], configs[0]["batch_size"]) == (0.3, 0.3 * 0.01, 16)
    assert all(config["arch_lr"] == config["lr"] * 0.01 for config in configs)
    assert {len(config["regularizers"]) for config in configs} == {1, 2}
    if name == "tpe":
        again = fakes.loaded(SEARCHERS[name], search=WHOLE_LANGUAGE, from_runs=[str(tmp_path / "whole")])
        assert again.earlier is not None
        choices = {json.dumps(draw.choices, sort_keys=True) for draw, _ in again.earlier.outcomes}
        trials = [trial.description()["choices"] for trial in whole.trials()]
        assert choices == {json.dumps(each, sort_keys=True) for each in trials}
        first = run_trials(SearchStage(begun(tmp_path / "again", again), again), 3)
        assert all(located(again.search, config) for config in first)


SEVERAL = {
    "objective": ["validation_accuracy", "skips"],
    "constraints": [{"signal": "entropy", "least": 0.5}],
}
TAKE_SEVERAL = [name for name in SEARCHERS if name not in ("cmaes", "from outside")]


def run_both(stage: SearchStage, count: int) -> list[dict[str, Any]]:
    """Runs trials: the accuracy is best at lr 0.2, the skips are fewest at lr 0.01. Small `arch_lr` is infeasible."""
    configs = []
    for _ in range(count):
        trial = stage.next_trial()
        if trial is None:
            break
        config = trial.description()["config"]
        configs.append(config)
        row = {"epoch": 1, "validation_accuracy": 1 - abs(config["lr"] - 0.2), "skips": 10 * config["lr"]}
        trial.append_row({**row, "entropy_mean": 1.0 if config["arch_lr"] > 0.005 else 0.1})
        trial.write_result({"status": "completed"})
        stage.ended(read_trial(trial))
    return configs


@pytest.mark.parametrize("name", TAKE_SEVERAL)
def test_with_several_objectives_and_a_constraint_a_resumed_searcher_goes_on_as_one_never_cut(
    tmp_path: Path, name: str
) -> None:
    loaded = spec(name, points=points(name), **SEVERAL)
    whole, cut = begun(tmp_path / "whole", loaded), begun(tmp_path / "cut", loaded)
    configs = run_both(SearchStage(whole, loaded), 99)
    run_both(SearchStage(cut, loaded), 1)
    run_both(SearchStage(cut, loaded), 6)
    run_both(SearchStage(cut, load_plain(cut.description()["spec"], "run.json")), 99)
    assert cut.events() == whole.events()
    outcomes = [event["outcome"] for event in whole.events() if event["event"] == "tell"]
    assert len(outcomes) == len(configs)
    for config, outcome in zip(configs, outcomes, strict=True):
        assert outcome["values"] == pytest.approx([1 - abs(config["lr"] - 0.2), 10 * config["lr"]])
        assert (outcome["excesses"][0] <= 0) == (config["arch_lr"] > 0.005)


@pytest.mark.parametrize("name", ["cmaes", "from outside"])
def test_a_searcher_that_learns_from_one_number_refuses_several(name: str) -> None:
    with pytest.raises(SpecError, match=r"sweep\.searcher: .*learns from one number, and there are 2 objectives"):
        spec(name, **SEVERAL)


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_several_objectives_are_learned_from_an_earlier_run(tmp_path: Path, name: str) -> None:
    first = spec("random", **SEVERAL)
    run_both(SearchStage(begun(tmp_path / "earlier", first), first), 99)
    loaded = spec(name, from_runs=[str(tmp_path / "earlier")], **SEVERAL)
    assert loaded.earlier is not None
    assert all(len(outcome.values or ()) == 2 and outcome.excesses for _, outcome in loaded.earlier.outcomes)
    warm = run_both(SearchStage(begun(tmp_path / "warm", loaded), loaded), 3)
    again = Earlier.from_json(json.loads(json.dumps(loaded.earlier.to_json())), loaded.search)
    assert again == loaded.earlier
    cold = spec(name, **SEVERAL)
    assert run_both(SearchStage(begun(tmp_path / "cold", cold), cold), 3) != warm


@pytest.fixture(scope="module")
def earlier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 12 random configurations; the best has lr near 0.2."""
    folder = tmp_path_factory.mktemp("earlier") / "random"
    loaded = spec("random")
    run_trials(SearchStage(begun(folder, loaded), loaded), 99)
    return folder


@pytest.mark.parametrize("name", LEARNING)
def test_a_model_learns_from_an_earlier_run_and_resumes_without_it(
    tmp_path: Path, earlier_run: Path, name: str
) -> None:
    copy = tmp_path / "earlier"
    copy.symlink_to(earlier_run)
    loaded = spec(name, from_runs=[str(copy)], points=points(name))
    assert loaded.earlier is not None
    assert len(loaded.earlier.known) == TRIALS
    whole, cut = begun(tmp_path / "whole", loaded), begun(tmp_path / "cut", loaded)
    warm = run_trials(SearchStage(whole, loaded), 99)
    run_trials(SearchStage(cut, loaded), 5)
    copy.unlink()
    again = load_plain(cut.description()["spec"], "run.json")
    run_trials(SearchStage(cut, again), 99)
    assert cut.events() == whole.events()
    cold = spec(name, points=points(name))
    configs = run_trials(SearchStage(begun(tmp_path / "cold", cold), cold), 99)
    assert configs[:2] == warm[:2], "the given points come first in both"
    assert configs[2:] != warm[2:], "what was learned changes what is proposed"


@pytest.mark.parametrize("name", [name for name in SEARCHERS if name not in LEARNING])
def test_a_searcher_that_learns_nothing_refuses_earlier_runs(earlier_run: Path, name: str) -> None:
    with pytest.raises(SpecError, match=r"fake\.yaml:1: sweep\.from_runs: .*do nothing; leave from_runs out"):
        spec(name, from_runs=[str(earlier_run)])


def test_earlier_results_are_read_back_from_json(earlier_run: Path) -> None:
    loaded = spec("tpe", from_runs=[str(earlier_run)])
    assert loaded.earlier is not None
    kept = json.loads(json.dumps(loaded.earlier.to_json()))
    assert Earlier.from_json(kept, loaded.search).to_json() == kept


COMMANDS = """\
data: {dataset: digits, limit: 60}
search:
  epochs: 1
  batch_size: 16
  lr: {loguniform: [0.01, 0.1]}
  estimator: first_order
  space: {name: robust_s3, channels: 2, layers: 3, nodes: 1}
sweep:
"""


@pytest.mark.usefixtures("local_sweeps")
def test_through_the_commands_a_sweep_learns_from_an_earlier_one_that_is_then_deleted(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"{COMMANDS}  searcher: {{name: random, trials: 2}}\n")
    second.write_text(
        f"{COMMANDS}  searcher: {{name: optuna, trials: 3, startup_trials: 1}}\n"
        f"  points: [{{lr: 0.03}}]\n  from_runs: [{tmp_path}/runs/one]\n"
    )
    storage = ("--storage", tmp_path / "runs")
    assert run_here("sweep", first, *storage, "--name", "one").code == 0
    outcome = run_here("sweep", second, *storage, "--name", "two")
    assert outcome.code == 0, outcome.err
    assert f"learns from {tmp_path}/runs/one: 2 trials are used" in outcome.out
    run = RunDirectory.open(tmp_path / "runs" / "two")
    known = run.description()["earlier"]["known"]
    trained = {trial.description()["config"]["lr"] for trial in RunDirectory.open(tmp_path / "runs" / "one").trials()}
    assert {each["choices"]["search.lr"] for each in known} == trained
    assert run.trial(0).description()["config"]["lr"] == 0.03
    assert len(run.trials()) == 3
    shutil.rmtree(tmp_path / "runs" / "one")
    assert run_here("resume", run.path).code == 0
