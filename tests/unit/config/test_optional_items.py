"""Items of a list that are there or not: their names stay, whatever else is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from raydarts.config.distributions import Draw, FirstChooser, enumerate_draws
from raydarts.config.loader import LoadedSpec, load_plain, load_spec, unique_grid
from raydarts.config.located import located
from raydarts.config.parsing import parse_tree, stored_tree
from raydarts.config.schema import spec_schema
from raydarts.config.source import from_plain
from raydarts.errors import SpecError
from raydarts.report.swept import short, swept
from raydarts.schedulers.perturbing import Perturbed, chosen
from raydarts.searchers.random import SeededChooser
from raydarts.study.settings_words import label
from raydarts.study.study import Outcome
from raydarts.trackers.optuna_form import Recorded
from raydarts.trackers.wandb.sweeps import parameters
from tests.commands import run_here

DECAY = {"name": "beta_decay", "strength": {"loguniform": [0.1, 10]}}
DROP = {"name": "drop_path", "probability": {"uniform": [0.1, 0.3]}}
LIST = [{"optional": DECAY}, DROP, {"optional": "weight_l2"}]
OPEN = {"epochs": 4, "regularizers": LIST}
FIRST, LAST = "search.regularizers.0", "search.regularizers.2"
STRENGTH = "search.regularizers.0[beta_decay].strength"
PROBABILITY = "search.regularizers.1[drop_path].probability"


def load(search: Any, searcher: Any = "random") -> LoadedSpec:
    return load_spec({"search": search, "sweep": {"searcher": searcher}})


def drawn(loaded: LoadedSpec, many: int = 30) -> list[Draw]:
    return [loaded.search.materialise(SeededChooser(0, index)) for index in range(many)]


def names_of(draw: Draw) -> list[str]:
    return [each if isinstance(each, str) else each["name"] for each in draw.plain["regularizers"]]


def test_each_optional_item_is_a_choice_of_two_and_what_is_in_it_is_conditional() -> None:
    found = {each.name: each for each in load(OPEN).search.distributions()}
    assert list(found) == [FIRST, STRENGTH, PROBABILITY, LAST]
    assert found[FIRST].distribution.labels == ("absent", "beta_decay")
    assert found[STRENGTH].condition == f"{FIRST} = beta_decay"
    assert found[PROBABILITY].condition is None


def test_every_combination_is_drawn_and_names_do_not_shift() -> None:
    draws = drawn(load(OPEN))
    assert {tuple(names_of(draw)) for draw in draws} == {
        ("drop_path",),
        ("beta_decay", "drop_path"),
        ("drop_path", "weight_l2"),
        ("beta_decay", "drop_path", "weight_l2"),
    }
    for draw in draws:
        items = {each["name"]: each for each in draw.plain["regularizers"] if isinstance(each, dict)}
        assert draw.choices[FIRST] == ("beta_decay" if "beta_decay" in items else "absent")
        assert draw.choices[LAST] == ("weight_l2" if "weight_l2" in names_of(draw) else "absent")
        assert draw.choices[PROBABILITY] == items["drop_path"]["probability"]
        assert (STRENGTH in draw.choices) == ("beta_decay" in items)
        assert draw.paths[PROBABILITY] == ("regularizers", len(items) - 1, "probability")
        if "beta_decay" in items:
            assert draw.choices[STRENGTH] == items["beta_decay"]["strength"]


def test_a_run_keeps_the_form_and_reads_it_back() -> None:
    loaded = load(OPEN)
    again = load_plain(loaded.to_plain(), "run.json")
    assert again.to_plain()["search"]["regularizers"] == LIST
    ours, theirs = (enumerate_draws(each.search, ends=True) for each in (loaded, again))
    assert [each.choices for each in ours] == [each.choices for each in theirs]


def test_a_grid_tries_each_with_each_and_a_neutral_one_once() -> None:
    decay = {"name": "beta_decay", "strength": {"grid": [0, 0.5, 1]}}
    loaded = load({"regularizers": [{"optional": decay}, {"optional": "oles"}]}, "grid")
    lists = [draw.plain["regularizers"] for draw in unique_grid(loaded)]
    found = [[each if each == "oles" else (each["name"], each["strength"]) for each in items] for items in lists]
    assert found == [
        [],
        ["oles"],
        [("beta_decay", 0.5)],
        [("beta_decay", 0.5), "oles"],
        [("beta_decay", 1)],
        [("beta_decay", 1), "oles"],
    ]


def test_two_optional_items_of_one_name_keep_apart() -> None:
    other = {**DROP, "probability": {"uniform": [0.4, 0.5]}}
    items = [{"optional": DROP}, {"optional": other}]
    tree = parse_tree(from_plain({"regularizers": items}, "f"), "search", [])
    assert [each.name for each in tree.distributions()] == [
        "search.regularizers.0",
        "search.regularizers.0[drop_path].probability",
        "search.regularizers.1",
        "search.regularizers.1[drop_path#2].probability",
    ]
    tree = load({"regularizers": {"choice": [items[:1], items[1:]]}}).search
    assert [each.name for each in tree.distributions()] == [
        "search.regularizers",
        "search.regularizers[drop_path?].0",
        "search.regularizers[drop_path?].0[drop_path].probability",
        "search.regularizers[drop_path?#2].0",
        "search.regularizers[drop_path?#2].0[drop_path].probability",
    ]


def test_optuna_searches_it_and_takes_it_from_a_record() -> None:
    loaded = load(OPEN, {"name": "optuna", "trials": 30, "startup_trials": 8})
    searcher = loaded.sweep.searcher.build()
    searcher.start(loaded)
    seen = set()
    for index in range(16):
        draw = searcher.propose(index)
        assert isinstance(located(loaded.search, draw.plain), Draw)
        searcher.tell(index, Outcome("completed", float(len(draw.plain["regularizers"]))))
        seen.add(tuple(names_of(draw)))
        recorded = Recorded(loaded.search, draw.choices, searched=False)
        assert recorded.params == dict(draw.choices)
    assert len(seen) == 4


def test_a_configuration_is_found_though_items_are_absent() -> None:
    loaded = load(OPEN)
    for draw in drawn(loaded):
        whole = loaded.settings_of(draw).model_dump(mode="json")
        for configuration in (draw.plain, whole):
            found = located(loaded.search, configuration)
            assert isinstance(found, Draw), found
            assert found == draw
    wrong = {
        ("oles",): 'is "oles", and in this space',
        ("beta_decay", "drop_path", "weight_l2", "oles"): "in this space it is a list of 1 to 3",
        (): "in this space it is a list of 1 to 3",
    }
    for items, words in wrong.items():
        misfits = located(loaded.search, {"regularizers": list(items)})
        assert isinstance(misfits, list)
        assert any(words in each.message for each in misfits), misfits
    silent = located(loaded.search, {"epochs": 4})
    assert isinstance(silent, list)
    assert "is left open in search and has no value here" in silent[0].message


@pytest.mark.parametrize("named", [short, lambda name: label(name, {"regularizers": ["drop_path", "weight_l2"]})])
def test_labels_say_what_an_item_is_wherever_it_stands_in_a_configuration(named: Any) -> None:
    assert named(STRENGTH) == "beta_decay.strength"
    assert named(PROBABILITY) == "drop_path.probability"
    assert named(FIRST) in ("regularizers, item 1", "regularizers.0")


def test_a_report_has_the_items_as_settings() -> None:
    settings = {each.label: each.values for each in swept(draw.choices for draw in drawn(load(OPEN)))}
    assert list(settings) == [
        "regularizers, item 1",
        "beta_decay.strength",
        "drop_path.probability",
        "regularizers, item 3",
    ]
    assert set(settings["regularizers, item 1"]) == {"absent", "beta_decay"}


def test_wandb_is_told_the_lists_and_the_numbers() -> None:
    told = parameters(stored_tree({"spec": {"search": OPEN}}))
    assert set(told["regularizers.names"]["values"]) == {
        "drop_path",
        "beta_decay, drop_path",
        "drop_path, weight_l2",
        "beta_decay, drop_path, weight_l2",
    }
    assert told["regularizers.beta_decay.strength"]["distribution"] == "log_uniform_values"
    assert told["regularizers.drop_path.probability"] == {"distribution": "uniform", "min": 0.1, "max": 0.3}


def test_a_scheduler_changes_what_is_in_an_item_and_not_whether_it_is_there() -> None:
    loaded = load(OPEN)
    perturbed = Perturbed(loaded.search, chosen(loaded.search, ()))
    assert perturbed.names == (STRENGTH, PROBABILITY)
    draw = next(each for each in drawn(loaded) if names_of(each) == ["drop_path", "weight_l2"])
    config = loaded.settings_of(draw).model_dump(mode="json")
    changed, choices = perturbed.applied(config, draw.choices, {STRENGTH: 5.0, PROBABILITY: 0.25})
    assert [each["name"] for each in changed["regularizers"]] == ["drop_path", "weight_l2"]
    assert changed["regularizers"][0]["probability"] == choices[PROBABILITY] == 0.25
    assert choices[FIRST] == "absent"


def test_a_mistake_in_an_item_is_told_once_at_its_line_and_its_place(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "search:\n  regularizers:\n    - optional: beta_decay\n    - {name: drop_path, probability: 2}\n"
        "    - {name: weight_l2, faktor: 2}\nsweep: {searcher: random}\n"
    )
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 2
    first, second = done.err.splitlines()
    assert first.startswith("s.yaml:4: search.regularizers.1.probability: must be ")
    assert second.startswith("s.yaml:5: search.regularizers.2.faktor: unknown key 'faktor'")


def test_validate_shows_the_items(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "search:\n  regularizers:\n    - optional: {name: beta_decay, strength: {grid: [0.5, 1]}}\n    - oles\n"
    )
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 0, done.err
    shown = " ".join(done.out.replace("│", " ").split())
    assert "search.regularizers.0 optional: absent, beta_decay -" in shown
    assert "search 3 " in shown


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (
            {"lr": {"optional": 0.1}},
            "search.lr: optional stands for an item of a list, as in regularizers: [{optional:",
        ),
        ({"regularizers": {"choice": [{"optional": "oles"}, []]}}, "optional stands for an item of a list"),
        ({"regularizers": [{"optional": {"optional": "oles"}}]}, "optional stands for an item of a list"),
        ({"regularizers": [{"optional": "oles", "name": "x"}]}, "'optional' cannot be beside name"),
        ({"regularizers": [{"optional": "no_such"}]}, "unknown regularizer 'no_such'"),
        (
            {**OPEN, "arch_lr": {"tied_to": "search.regularizers.0.strength"}},
            "search.regularizers.0 is absent in some configurations that have the tie",
        ),
    ],
)
def test_what_is_no_optional_item_is_said(search: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(search)
    assert words in str(caught.value)


def test_ties_go_by_where_an_item_is_written() -> None:
    tied = {**OPEN, "arch_lr": {"tied_to": "search.regularizers.1.probability", "times": 0.1}}
    for draw in drawn(load(tied)):
        assert draw.plain["arch_lr"] == draw.choices[PROBABILITY] * 0.1
    decay = {**DECAY, "growth": {"tied_to": "search.regularizers.0.strength"}}
    with pytest.raises(SpecError, match=r"search\.regularizers\.0\.growth: "):
        load({"regularizers": [{"optional": {**decay, "growth": {"tied_to": "search.regularizers.0.strenth"}}}]})


def test_an_item_that_a_scheduler_sees_first_is_the_first_combination() -> None:
    assert names_of(load(OPEN).search.materialise(FirstChooser())) == ["drop_path"]


def test_an_editor_takes_optional_items_of_lists_alone() -> None:
    validator = Draft202012Validator(spec_schema())
    assert validator.is_valid({"search": OPEN})
    assert not validator.is_valid({"search": {"lr": {"optional": 0.1}}})
    assert not validator.is_valid({"search": {"regularizers": [{"optional": "no_such"}]}})
