"""Each kind of distribution: read and written back, drawn, searched by Optuna, and told to W&B and to editors."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from raydarts.config.distributions import KINDS, Draw, Tree, grid_draws
from raydarts.config.loader import LoadedSpec, load_spec, unique_grid
from raydarts.config.located import located
from raydarts.config.open_numbers import REACH
from raydarts.config.parsing import stored_tree
from raydarts.config.schema import spec_schema
from raydarts.errors import SpecError
from raydarts.schedulers.perturbing import Perturbed, chosen
from raydarts.searchers.random import SeededChooser
from raydarts.study.study import Outcome
from raydarts.trackers.optuna_form import Recorded
from raydarts.trackers.wandb.sweeps import parameters
from tests.commands import run_here

FORMS: dict[str, list[dict[str, Any]]] = {
    "choice": [{"choice": [0.1, 0.2, 0.3]}, {"choice": [0.1, 0.2, 0.3], "weights": [3, 1, 0.5]}],
    "grid": [{"grid": [0.1, 0.2]}],
    "uniform": [{"uniform": [0.1, 0.9]}],
    "loguniform": [{"loguniform": [1e-4, 1e-1]}],
    "quniform": [{"quniform": [0.1, 0.7, 0.2]}],
    "qloguniform": [{"qloguniform": [0.01, 1.0, 0.01]}, {"qloguniform": [16, 1024, 16]}],
    "randint": [{"randint": [1, 9]}],
    "normal": [{"normal": [0.5, 0.05]}, {"normal": [0.025, 0.02, 0.001, 1.0]}],
}
each_form = pytest.mark.parametrize("form", [form for forms in FORMS.values() for form in forms], ids=json.dumps)


def load(search: Any, searcher: Any = "random") -> LoadedSpec:
    return load_spec({"search": search, "sweep": {"searcher": searcher}})


def space(form: dict[str, Any]) -> LoadedSpec:
    return load({"lr": form})


def refusals(search: Any, searcher: Any = "random") -> str:
    with pytest.raises(SpecError) as caught:
        load(search, searcher)
    return str(caught.value)


def drawn(tree: Tree, many: int, seed: int = 0) -> list[Draw]:
    return [tree.materialise(SeededChooser(seed, index)) for index in range(many)]


def test_every_kind_is_under_these_tests() -> None:
    assert set(FORMS) == set(KINDS)


@each_form
def test_what_is_written_is_read_back(form: dict[str, Any]) -> None:
    tree = space(form).search
    assert tree.to_plain() == {"lr": form}
    assert json.dumps(tree.to_plain()).replace(".0", "") == json.dumps({"lr": form}).replace(".0", "")


@each_form
def test_every_draw_is_of_the_space_and_between_the_ends(form: dict[str, Any]) -> None:
    tree = space(form).search
    (dimension,) = tree.distributions()
    distribution = dimension.distribution
    for draw in drawn(tree, 60):
        found = located(tree, draw.plain)
        assert isinstance(found, Draw), found
        assert found.choices == draw.choices
        value = distribution.chosen(draw.choices["search.lr"])
        assert min(distribution.ends()) <= value <= max(distribution.ends())
        assert distribution.nearest(value) == value
        assert distribution.at(distribution.coordinate(value)) == pytest.approx(value, rel=1e-12)
        assert not distribution.is_finite or value in distribution.values()
    assert len({draw.choices["search.lr"] for draw in drawn(tree, 60)}) > 1


@each_form
def test_optuna_searches_it_and_takes_it_from_a_record(form: dict[str, Any]) -> None:
    loaded = load({"lr": form}, {"name": "optuna", "trials": 30, "startup_trials": 10})
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    first = drawn(loaded.search, 1, seed=5)[0]
    searcher.accept(0, first)
    searcher.tell(0, Outcome("completed", 0.5))
    assert searcher._study.trials[0].params == Recorded(loaded.search, first.choices, searched=True).params
    for index in range(1, 14):
        draw = searcher.propose(index)
        assert isinstance(located(loaded.search, draw.plain), Draw)
        searcher.tell(index, Outcome("completed", draw.plain["lr"]))


@each_form
def test_the_journal_of_optuna_has_the_value_itself(form: dict[str, Any]) -> None:
    tree = space(form).search
    for draw in drawn(tree, 5):
        shown = Recorded(tree, draw.choices, searched=False)
        value = shown.params["search.lr"]
        assert float(str(value)) == draw.plain["lr"]
        assert shown.distributions["search.lr"]._contains(shown.distributions["search.lr"].to_internal_repr(value))


@each_form
def test_an_editor_takes_it(form: dict[str, Any]) -> None:
    validator = Draft202012Validator(spec_schema())
    assert validator.is_valid({"search": {"lr": form}})
    kind, arguments = next(iter(form.items()))
    if kind not in ("choice", "grid"):
        assert not validator.is_valid({"search": {"lr": {kind: arguments[:1]}}})
        assert not validator.is_valid({"search": {"estimator": form}}), "a part is no number"


@each_form
def test_population_based_training_draws_it_anew_and_brings_it_back_inside(form: dict[str, Any]) -> None:
    tree = space(form).search
    if "weights" in form:
        assert chosen(tree, ()) == []
        return
    perturbed = Perturbed(tree, chosen(tree, ()))
    mutation = perturbed.mutations()["search.lr"]
    random.seed(0)
    values = mutation if isinstance(mutation, list) else [mutation() for _ in range(20)]
    assert perturbed.inside({"search.lr": values[0]}) == {"search.lr": values[0]}
    if "choice" not in form and "grid" not in form:
        low, high = tree.distributions()[0].distribution.ends()
        assert perturbed.inside({"search.lr": 1e9}) == {"search.lr": high}
        assert perturbed.inside({"search.lr": -1e9}) == {"search.lr": low}


WANDB: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"choice": [0.1, 0.2]}, {"values": [0.1, 0.2]}),
    ({"choice": [0.1, 0.2, 0.1], "weights": [1, 1, 2]}, {"values": [0.1, 0.2], "probabilities": [0.75, 0.25]}),
    ({"uniform": [0.1, 1]}, {"distribution": "uniform", "min": 0.1, "max": 1.0}),
    ({"loguniform": [0.1, 1]}, {"distribution": "log_uniform_values", "min": 0.1, "max": 1.0}),
    ({"quniform": [1, 2, 0.5]}, {"values": [1.0, 1.5, 2.0]}),
    ({"qloguniform": [1, 10, 0.5]}, {"distribution": "q_log_uniform_values", "min": 1.0, "max": 10.0, "q": 0.5}),
    ({"randint": [1, 3]}, {"distribution": "int_uniform", "min": 1, "max": 3}),
    ({"normal": [0.5, 0.05]}, {"distribution": "normal", "mu": 0.5, "sigma": 0.05}),
    ({"normal": [0.5, 1, 0.1, 2]}, {"distribution": "normal", "mu": 0.5, "sigma": 1.0}),
]


@pytest.mark.parametrize(("form", "told"), WANDB, ids=lambda each: json.dumps(each)[:40])
def test_wandb_is_told_in_its_own_words(form: dict[str, Any], told: dict[str, Any]) -> None:
    assert parameters(stored_tree({"spec": {"search": {"lr": form}}})) == {"lr": told}


def test_wandb_is_told_the_ends_of_unlike_kinds_that_share_a_key() -> None:
    second = [
        {"name": "finite_difference", "epsilon": form} for form in ({"normal": [0.5, 0.1]}, {"uniform": [0.25, 0.5]})
    ]
    told = parameters(stored_tree({"spec": {"search": {"estimator": {"choice": second}}}}))
    assert told["estimator.epsilon"] == {"values": [0.0, 1.0, 0.25, 0.5]}


def agrees(values: list[float], normal: NormalDist, low: float, high: float) -> bool:
    """Whether a sample could be of a normal distribution between two ends (Kolmogorov and Smirnov, 1 in 1000)."""
    below, above = normal.cdf(low), normal.cdf(high)
    shares = [(normal.cdf(value) - below) / (above - below) for value in sorted(values)]
    count = len(values)
    apart = max(max(abs(share - at / count), abs(share - (at + 1) / count)) for at, share in enumerate(shares))
    return apart < 1.95 / math.sqrt(count)


@pytest.mark.parametrize("ends", [None, (0.4, 0.9)])
def test_a_normal_is_drawn_as_one_at_random_and_by_optuna_at_first(ends: tuple[float, float] | None) -> None:
    form = {"normal": [0.5, 0.08, *(ends or ())]}
    low, high = ends or (0.5 - REACH * 0.08, 0.5 + REACH * 0.08)
    values = [draw.plain["lr"] for draw in drawn(space(form).search, 1500)]
    assert agrees(values, NormalDist(0.5, 0.08), low, high)
    assert not agrees(values, NormalDist(0.52, 0.08), low, high)
    loaded = load({"lr": form}, {"name": "optuna", "trials": 400, "startup_trials": 300})
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    asked = [searcher.propose(index).plain["lr"] for index in range(300)]
    assert agrees(asked, NormalDist(0.5, 0.08), low, high)
    assert min(values + asked) >= low
    assert max(values + asked) <= high


def test_optunas_model_of_a_normal_goes_where_the_best_values_are() -> None:
    form = {"normal": [0.5, 0.08]}
    loaded = load({"lr": form}, {"name": "optuna", "trials": 60, "startup_trials": 15})
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    asked = []
    for index in range(50):
        asked.append(searcher.propose(index).plain["lr"])
        searcher.tell(index, Outcome("completed", -abs(asked[-1] - 0.6)))
    assert fmean(abs(value - 0.6) for value in asked[30:]) < fmean(abs(value - 0.6) for value in asked[:15]) / 2


def test_a_log_uniform_multiple_is_rounded_from_a_log_uniform_number() -> None:
    tree = load({"batch_size": {"qloguniform": [16, 1024, 16]}}).search
    values = [draw.plain["batch_size"] for draw in drawn(tree, 800)]
    assert all(isinstance(value, int) and value % 16 == 0 for value in values)
    for middle in (64, 256):
        share = sum(value <= middle for value in values) / len(values)
        wanted = math.log((middle + 8) / 16) / math.log(1024 / 16)
        assert share == pytest.approx(wanted, abs=0.05)
    assert min(values) == 16


def test_a_grid_tries_every_multiple_once() -> None:
    found = [
        draw.plain["batch_size"] for draw in unique_grid(load({"batch_size": {"qloguniform": [16, 80, 16]}}, "grid"))
    ]
    assert found == [16, 32, 48, 64, 80]
    tree = load({"lr": {"qloguniform": [0.5, 2, 0.5]}}, "grid").search
    assert [draw.plain["lr"] for draw in grid_draws(tree)] == [0.5, 1.0, 1.5, 2.0]


WEIGHTED = {"choice": ["first_order", {"name": "finite_difference", "xi": {"uniform": [0.01, 0.1]}}], "weights": [4, 1]}


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_options_are_drawn_by_their_weights(searcher: str) -> None:
    many = 500
    startup = {"startup_trials": many} if searcher == "optuna" else {}
    loaded = load({"estimator": WEIGHTED}, {"name": searcher, "trials": many, **startup})
    searching = loaded.sweep.searcher.build()
    searching.start(loaded)
    draws = [searching.propose(index) for index in range(many)]
    share = sum(draw.plain["estimator"] == "first_order" for draw in draws) / many
    assert share == pytest.approx(0.8, abs=0.06)
    assert {draw.choices["search.estimator"] for draw in draws} == {"first_order", "finite_difference"}
    assert sum(len(draw.choices) == 2 for draw in draws) == round(many * (1 - share))


def test_the_journal_of_optuna_has_the_labels_of_weighted_options() -> None:
    tree = load({"estimator": WEIGHTED}).search
    seen = {Recorded(tree, draw.choices, searched=False).params["search.estimator"] for draw in drawn(tree, 40)}
    assert seen == {"first_order", "finite_difference"}


def test_optunas_model_leaves_the_weights_where_another_option_is_better() -> None:
    form = {"choice": [0.1, 0.2, 0.3], "weights": [8, 1, 1]}
    loaded = load({"lr": form}, {"name": "optuna", "trials": 60, "startup_trials": 15})
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    asked = []
    for index in range(60):
        asked.append(searcher.propose(index).plain["lr"])
        searcher.tell(index, Outcome("completed", asked[-1]))
    assert asked[:15].count(0.1) > 7
    assert asked[30:].count(0.3) > 9, "by weight it would be 3 of 30"


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"choice": [1, 2], "weights": [1]}, "weights must be 2 numbers above 0, one for each option of choice"),
        ({"choice": [1, 2], "weights": [1, 0]}, "weights must be 2 numbers above 0"),
        ({"choice": [1, 2], "weights": [1, "x"]}, 'got [1, "x"]'),
        ({"choice": [1, 2], "weights": 3}, "weights must be 2 numbers above 0"),
        ({"choice": [1, 2], "weights": [1, 1e12]}, "1e+09 at most"),
        ({"grid": [1, 2], "weights": [1, 1]}, "'grid' cannot be beside weights; weights stands beside choice"),
        ({"choice": [1, 2], "wieghts": [1, 1]}, "'choice' cannot be beside wieghts"),
        ({"uniform": [1, 2], "weights": [1, 1]}, "'uniform' cannot be beside weights"),
    ],
)
def test_wrong_weights_are_said(search: dict[str, Any], words: str) -> None:
    assert words in refusals({"lr": search})


def test_a_grid_refuses_weights_by_name(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "search:\n  lr:\n    choice: [0.1, 0.2]\n    weights: [3, 1]\nsweep: {searcher: grid}\n"
    )
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("s.yaml:2: search.lr: a grid tries each option once, so that weights would do nothing; ")
    shown = run_here("validate", "s.yaml", "--set", "sweep.searcher=random", cwd=tmp_path)
    assert "choice: 0.1, 0.2; weights 3, 1" in shown.out


def test_pbt_refuses_to_perturb_weighted_options_by_name() -> None:
    search = {"epochs": 10, "lr": {"choice": [0.1, 0.2], "weights": [3, 1]}, "arch_lr": {"uniform": [0.1, 0.2]}}
    with pytest.raises(SpecError, match=r"search\.lr cannot change while a search goes on: its options have weights"):
        load_spec(
            {"search": search, "sweep": {"searcher": "random", "scheduler": {"name": "pbt", "perturb": ["search.lr"]}}}
        )


def test_a_whole_search_may_be_a_weighted_choice() -> None:
    options = [{"epochs": 2}, {"epochs": 3, "lr": {"uniform": [0.1, 0.2]}}]
    loaded = load({"choice": options, "weights": [1, 2]})
    assert loaded.search.to_plain() == {"choice": options, "weights": [1.0, 2.0]}


def blocks(page: str, heading: str) -> list[Any]:
    text = (Path(__file__).parents[3] / "docs" / page).read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [YAML(typ="safe", pure=True).load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def test_the_examples_of_the_pages_are_valid() -> None:
    language, trainings = blocks("spec.md", "Distributions"), blocks("stages.md", "Several training settings")
    assert (len(language), len(trainings)) == (2, 1)
    for block in [*language, *trainings]:
        loaded = load_spec({"sweep": {"searcher": "random"}, **block})
        assert loaded.search.ties() or loaded.search.distributions() or loaded.stages.transfer


def test_weights_stand_under_search_alone() -> None:
    with pytest.raises(SpecError, match=r"data\.limit: a distribution \(choice\) can only stand under search"):
        load_spec({"data": {"limit": {"choice": [100, 200], "weights": [1, 2]}}})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"normal": [0.1]}, "normal needs [mean, sd] or [mean, sd, low, high], finite numbers; got [0.1]"),
    ({"normal": [0.1, 1, 2]}, "normal needs [mean, sd] or [mean, sd, low, high]"),
    ({"normal": [0.1, 0]}, "normal [mean, sd]: sd must be above 0, got 0"),
    ({"normal": [0.1, 1, 2, 1]}, "normal [mean, sd, low, high]: low must be below high, got 2 and 1"),
    ({"normal": [0.1, 0.1, 5, 6]}, "less than one draw in a million lies between 5 and 6; choose ends nearer"),
    ({"normal": [1e308, 1e308]}, "must be numbers that a computer holds"),
    ({"normal": [1, 1e-300]}, "sd is too small beside the mean"),
    ({"normal": {"mean": 0.5, "sd": 0.1}}, "normal needs a list of numbers: write {normal: [0.5, 0.1]}"),
    ({"qloguniform": [0, 1, 0.1]}, "low and q must be above 0"),
    ({"qloguniform": [0.1, 1, -0.1]}, "low and q must be above 0"),
    ({"qloguniform": [0.16, 1, 0.1]}, "multiples of q, for example [0.2, 1, 0.1], got 0.16 and 1"),
    ({"qloguniform": [0.11, 0.12, 0.1]}, "for example [0.1, 0.2, 0.1]"),
    ({"qloguniform": [0.1, 1]}, "qloguniform needs [low, high, q]"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "words"), REFUSED, ids=lambda each: json.dumps(each)[:40])
def test_what_is_no_distribution_is_said(form: dict[str, Any], words: str) -> None:
    assert words in refusals({"lr": form})


def test_a_normal_that_reaches_what_a_setting_refuses_is_told_to_have_ends(tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text("search:\n  epochs: 1\n  lr: {normal: [0.025, 0.01]}\nsweep: {searcher: random}\n")
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith(
        "s.yaml:3: search.lr: must be greater than 0, got -0.025; this normal reaches 5 standard"
    )
    assert "write normal: [0.025, 0.01, low, high] with ends that are allowed" in done.err
    spec.write_text("search:\n  epochs: 1\n  lr: {normal: [0.025, 0.01, 0.001, 0.1]}\nsweep: {searcher: random}\n")
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "normal: 0.025, 0.01, from 0.001 to 0.075" in " ".join(done.out.replace("│", " ").split())


def test_a_grid_refuses_a_normal() -> None:
    assert "search.lr: a grid cannot enumerate normal; write grid: [values]" in refusals(
        {"lr": {"normal": [0.5, 0.05]}}, "grid"
    )
