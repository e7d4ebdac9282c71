"""The search-space language: names, conditions, order, and which configurations are the same."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.distributions import Draw, FirstChooser, enumerate_draws
from raydarts.config.loader import LoadedSpec, effective_key, load_plain, load_spec, unique_grid
from raydarts.config.open_numbers import QUniform, RandInt
from raydarts.config.open_values import Distribution
from raydarts.config.parsing import parse_tree
from raydarts.config.plan import longest
from raydarts.config.source import from_plain
from raydarts.errors import Problem

CONDITIONAL = """
search:
  seed: {grid: [0, 1]}
  estimator:
    choice:
      - first_order
      - name: finite_difference
        xi: {grid: [0.01, lr]}
        epsilon: {loguniform: [1.0e-3, 1.0e-1]}
  regularizers:
    choice:
      - []
      - [{name: drop_path, probability: {quniform: [0.0, 0.6, 0.2]}}, beta_decay]
sweep: {searcher: random}
"""
XI = "search.estimator[finite_difference].xi"
EPSILON = "search.estimator[finite_difference].epsilon"
PROBABILITY = "search.regularizers[drop_path+beta_decay].0.probability"


@pytest.fixture
def load(tmp_path: Path):
    def load_text(text: str, *sets: str) -> LoadedSpec:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return load_spec(path, sets)

    return load_text


def choices(draws: list[Draw]) -> list[dict[str, Any]]:
    return [draw.choices for draw in draws]


def test_a_distribution_is_named_by_the_option_it_hangs_under(load) -> None:
    found = {each.name: each for each in load(CONDITIONAL).search.distributions()}
    assert list(found) == ["search.seed", "search.estimator", XI, EPSILON, "search.regularizers", PROBABILITY]
    assert found["search.seed"].condition is None
    assert found["search.estimator"].forced == {}
    assert found[XI].condition == "search.estimator = finite_difference"
    assert found[XI].forced == {"search.estimator": 1}
    assert found[PROBABILITY].condition == "search.regularizers = drop_path+beta_decay"
    assert found["search.regularizers"].distribution.labels == ("none", "drop_path+beta_decay")
    assert found[PROBABILITY].distribution.values() == [0.0, 0.2, 0.4, 0.6]


def test_only_what_hangs_under_the_chosen_option_is_asked_for(load) -> None:
    tree = load(CONDITIONAL).search
    first = tree.materialise(FirstChooser())
    assert first.choices == {"search.seed": 0, "search.estimator": "first_order", "search.regularizers": "none"}
    assert first.plain == {"seed": 0, "estimator": "first_order", "regularizers": []}
    second = tree.materialise(
        FirstChooser({"search.estimator": 1, XI: 1, EPSILON: 0.02, "search.regularizers": 1, PROBABILITY: 0.4})
    )
    assert second.plain == {
        "seed": 0,
        "estimator": {"name": "finite_difference", "xi": "lr", "epsilon": 0.02},
        "regularizers": [{"name": "drop_path", "probability": 0.4}, "beta_decay"],
    }
    assert second.choices == {
        "search.seed": 0,
        "search.estimator": "finite_difference",
        XI: "lr",
        EPSILON: 0.02,
        "search.regularizers": "drop_path+beta_decay",
        PROBABILITY: 0.4,
    }


def test_the_names_of_the_choices_are_the_names_of_the_dimensions(load) -> None:
    tree = load(CONDITIONAL).search
    names = {name for draw in enumerate_draws(tree, ends=True) for name in draw.choices}
    assert names == {dimension.name for dimension in tree.distributions()}


def test_each_path_knows_the_line_of_the_chosen_option(load) -> None:
    tree = load(CONDITIONAL).search
    lines = tree.materialise(FirstChooser({"search.estimator": 1})).lines
    assert lines[("estimator",)][1] == 7
    assert lines[("estimator", "xi")][1] == 8
    assert tree.materialise(FirstChooser()).lines[("estimator",)][1] == 6


def test_options_that_look_alike_get_labels_of_their_own(load) -> None:
    spec = "search:\n  estimator:\n    choice:\n" + "".join(
        f"      - {{name: finite_difference, xi: {xi}}}\n" for xi in (0.1, 0.2)
    )
    (dimension,) = load(spec).search.distributions()
    assert dimension.distribution.labels == ("finite_difference", "finite_difference#2")
    assert len({draw.choices["search.estimator"] for draw in unique_grid(load(spec))}) == 2


def test_the_grid_goes_in_the_order_of_the_yaml_the_last_moving_fastest(load) -> None:
    spec = (
        "search:\n  seed: {grid: [1, 0]}\n  estimator: {choice: [first_order, exact_hvp]}\n  lr: {grid: [0.2, 0.1]}\n"
    )
    found = [(draw.plain["seed"], draw.plain["estimator"], draw.plain["lr"]) for draw in unique_grid(load(spec))]
    assert found == [
        (seed, estimator, lr) for seed in (1, 0) for estimator in ("first_order", "exact_hvp") for lr in (0.2, 0.1)
    ]


def test_a_conditional_grid_is_a_sum_not_a_product(load) -> None:
    spec = (
        "search:\n  seed: {grid: [0, 1]}\n  estimator:\n    choice:\n      - first_order\n"
        "      - {name: finite_difference, xi: {grid: [0.01, 0.1, lr]}}\n"
    )
    found = [
        (draw.choices["search.seed"], draw.choices["search.estimator"], draw.choices.get(XI))
        for draw in unique_grid(load(spec))
    ]
    assert found == [
        (seed, *rest)
        for seed in (0, 1)
        for rest in (
            ("first_order", None),
            ("finite_difference", 0.01),
            ("finite_difference", 0.1),
            ("finite_difference", "lr"),
        )
    ]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ("estimator: {choice: [first_order, {name: finite_difference, xi: {grid: [0, 0.1]}}]}", 2),
        ("estimator: {choice: [first_order, {name: exact_hvp, xi: 0}, {name: finite_difference, xi: 0.0}]}", 1),
        ("regularizers: {choice: [[], [{name: beta_decay, strength: {grid: [0, 0.5]}}]]}", 2),
        ("regularizers: {choice: [[], [{name: weight_l2, factor: {grid: [1, 3]}}]]}", 2),
        ("regularizers: {choice: [[], [{name: drop_path, probability: {grid: [0, 0.2]}}]]}", 2),
        ("lr: {grid: [0.1, 0.1, 0.10]}", 1),
        ("lr: {grid: [0.025, 0.05]}", 2),
        ("estimator: {choice: [finite_difference, {name: finite_difference, epsilon: 0.01, xi: lr}]}", 1),
        ("estimator: {choice: [finite_difference, exact_hvp, first_order]}", 3),
    ],
)
def test_equivalent_configurations_are_run_once(load, options: str, kept: int) -> None:
    assert len(unique_grid(load(f"search:\n  {options}\n"))) == kept


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("estimator: first_order", "estimator: {name: finite_difference, xi: 0}", True),
        ("estimator: first_order", "estimator: {name: finite_difference, xi: 1.0e-6}", False),
        ("regularizers: []", "regularizers: [{name: beta_decay, strength: 0}]", True),
        ("regularizers: []", "regularizers: [{name: weight_l2, factor: 1}]", True),
        ("regularizers: []", "regularizers: [{name: weight_l2, factor: 0}]", False),
        ("regularizers: [drop_path]", "regularizers: [drop_path, {name: beta_decay, strength: 0}]", True),
        ("seed: 0", "seed: 1", False),
        ("seed: 0", "lr: 0.025", True),
    ],
)
def test_effective_key_is_equal_for_configurations_that_act_alike(load, one: str, other: str, alike: bool) -> None:
    keys = []
    for text in (one, other):
        loaded = load(f"search:\n  {text}\n")
        keys.append(effective_key(loaded.settings_of(loaded.search.materialise(None))))
    assert (keys[0] == keys[1]) is alike


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (RandInt(("f", 1), 1, 4), [1, 2, 3, 4]),
        (QUniform(("f", 1), 0.1, 0.5, 0.1), [0.1, 0.2, 0.3, 0.4, 0.5]),
        (QUniform(("f", 1), 0.0, 1.0, 0.4), [0.0, 0.4, 0.8]),
    ],
)
def test_values_of_a_stepped_range(distribution: Distribution, values: list[float]) -> None:
    assert distribution.values() == values
    assert all(type(found) is type(wanted) for found, wanted in zip(distribution.values(), values, strict=True))


def test_a_randint_gives_whole_numbers_to_the_settings(load) -> None:
    loaded = load("search:\n  epochs: {randint: [2, 4]}\n")
    assert [loaded.settings_of(draw).epochs for draw in unique_grid(loaded)] == [2, 3, 4]


def test_to_plain_reads_back_as_the_same_spec(load) -> None:
    loaded = load(CONDITIONAL + "evaluate: {top_k: 2, seeds: [3]}\n")
    plain = loaded.to_plain()
    again = load_plain(plain, "run.json")
    assert again.to_plain() == plain
    assert (again.data, again.sweep, again.evaluate) == (loaded.data, loaded.sweep, loaded.evaluate)
    for tree_draw, again_draw in zip(
        enumerate_draws(loaded.search, ends=True), enumerate_draws(again.search, ends=True), strict=True
    ):
        assert {"tf32": False, **tree_draw.plain} == again_draw.plain  # run.json says it where a spec is silent
        assert tree_draw.choices == again_draw.choices


def test_pickling_keeps_a_spec(load) -> None:
    loaded = load(CONDITIONAL)
    again = pickle.loads(pickle.dumps(loaded))
    assert again.search == loaded.search
    assert again.to_plain() == loaded.to_plain()
    assert choices(list(enumerate_draws(again.search, ends=True))) == choices(
        list(enumerate_draws(loaded.search, ends=True))
    )


def test_set_puts_a_value_for_a_distribution_and_a_distribution_for_a_value(load) -> None:
    fixed = load("search:\n  seed: {grid: [0, 1]}\n", "search.seed=7")
    assert fixed.search.is_constant
    assert fixed.search.materialise(None).plain == {"seed": 7}
    opened = load("search:\n  seed: 0\n", "search.seed={grid: [4, 5]}", "search.lr={grid: [0.1, 0.2]}")
    assert [draw.plain for draw in unique_grid(opened)] == [
        {"seed": seed, "lr": lr} for seed in (4, 5) for lr in (0.1, 0.2)
    ]


def test_set_on_a_component_given_by_its_short_name(load) -> None:
    loaded = load(
        "search:\n  estimator: finite_difference\n  regularizers: [beta_decay]\n",
        "search.estimator.xi=0.3",
        "search.regularizers.0.strength=2",
        "sweep.searcher=random",
        "sweep.searcher.trials=7",
    )
    settings = loaded.settings_of(loaded.search.materialise(None))
    assert settings.estimator.plain() == {
        **{"name": "finite_difference", "xi": 0.3, "epsilon": 0.01},
        "grad_clip": 0.0,
    }
    assert settings.regularizers[0].plain() == {"name": "beta_decay", "strength": 2.0}
    assert loaded.sweep.searcher.plain() == {"name": "random", "trials": 7}


def test_set_reaches_into_a_section_that_is_not_there(load) -> None:
    loaded = load("search: {}\n", "evaluate.training.epochs=3", "data.limit=100")
    assert loaded.evaluate is not None
    assert loaded.evaluate.training.epochs == 3
    assert loaded.data.limit == 100


def test_of_several_sets_the_last_holds(load) -> None:
    assert load("search: {}\n", "search.epochs=3", "search.epochs=4").search.materialise(None).plain == {"epochs": 4}


def test_an_open_tree_needs_a_chooser(load) -> None:
    with pytest.raises(ValueError, match=r"search\.seed is left open"):
        load("search:\n  seed: {grid: [0, 1]}\n").search.materialise(None)


def test_labels_stay_unique_where_a_number_is_taken(load) -> None:
    problems: list[Problem] = []
    tree = parse_tree(from_plain({"x": {"choice": ["a", "a", "a#2", "1", 1]}}, "f"), "search", problems)
    (dimension,) = tree.distributions()
    assert dimension.distribution.labels == ("a", "a#3", "a#2", "1", "1#2")


def test_a_huge_stepped_range_is_not_written_out(load) -> None:
    distribution = RandInt(("f", 1), 0, 1e12)
    assert (distribution.count(), distribution.ends()) == (10**12 + 1, [0, 10**12])
    assert load("search:\n  seed: {randint: [0, 1000000000000]}\nsweep: {searcher: random}\n").search.distributions()


def test_the_last_step_not_the_high_end_is_what_must_be_allowed(load) -> None:
    assert load("search:\n  momentum: {quniform: [0, 1, 0.3]}\n").search.distributions()


@pytest.mark.parametrize(
    ("search", "most"),
    [
        ("{}", 50),
        ("{epochs: {grid: [3, 9, 5]}}", 9),
        ("{choice: [{epochs: 5}, {epochs: 70}]}", 70),
        ("{choice: [{epochs: 5}, {epochs: {randint: [6, 80]}}]}", 80),
    ],
)
def test_the_longest_trial_is_found_wherever_its_epochs_stand(search: str, most: int, tmp_path: Path) -> None:
    """ASHA stops every trial there: found too low, it would cut the longer ones short."""
    path = tmp_path / "spec.yaml"
    path.write_text(f"search: {search}\nsweep: {{searcher: {{name: random, trials: 2}}}}\n")
    assert longest(load_spec(path).search) == most
