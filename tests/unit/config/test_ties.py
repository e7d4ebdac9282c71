"""Values tied to another place: they follow its draw wherever it goes, and what cannot be followed is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.config.distributions import Draw
from raydarts.config.loader import LoadedSpec, load_plain, load_spec, unique_grid
from raydarts.config.located import located
from raydarts.config.rehearsal import configurations
from raydarts.errors import SpecError
from raydarts.schedulers.perturbing import Perturbed, chosen
from raydarts.searchers.random import SeededChooser
from tests.commands import run_here

SECOND = {"name": "finite_difference", "xi": {"tied_to": "search.lr", "times": 0.5}, "epsilon": {"grid": [0.01, 0.1]}}
OPEN = {
    "epochs": 4,
    "lr": {"loguniform": [0.01, 0.5]},
    "weight_decay": {"tied_to": "search.arch_weight_decay"},
    "arch_weight_decay": {"tied_to": "search.lr", "times": 0.1},
    "estimator": {"choice": ["first_order", SECOND]},
}
EPSILON = "search.estimator[finite_difference].epsilon"


def load(search: Any, sweep: Any = "random") -> LoadedSpec:
    return load_spec({"search": search, "sweep": {"searcher": sweep} if isinstance(sweep, str) else sweep})


def drawn(loaded: LoadedSpec, many: int = 20) -> list[Draw]:
    return [loaded.search.materialise(SeededChooser(0, index)) for index in range(many)]


def test_a_tied_value_follows_the_draw_and_a_tie_may_follow_a_tie() -> None:
    draws = drawn(load(OPEN))
    for draw in draws:
        lr = draw.plain["lr"]
        assert draw.plain["arch_weight_decay"] == draw.plain["weight_decay"] == lr * 0.1
        if draw.plain["estimator"] != "first_order":
            assert draw.plain["estimator"]["xi"] == lr * 0.5
    assert len({draw.plain["weight_decay"] for draw in draws}) == len(draws)


def test_a_tie_is_no_dimension_and_moves_no_draw_of_others() -> None:
    loaded = load(OPEN)
    assert [each.name for each in loaded.search.distributions()] == ["search.lr", "search.estimator", EPSILON]
    untied = {key: value for key, value in OPEN.items() if key not in ("weight_decay", "arch_weight_decay")}
    assert [draw.choices for draw in drawn(load(untied))] == [draw.choices for draw in drawn(loaded)]
    assert len(unique_grid(load({"lr": {"grid": [0.1, 0.2]}, "arch_lr": {"tied_to": "search.lr"}}, "grid"))) == 2


def test_a_whole_number_stays_one_and_a_text_is_taken_as_it_is() -> None:
    search = {
        "batch_size": {"grid": [8, 12]},
        "epochs": {"tied_to": "search.batch_size", "times": 0.5},
        "estimator": {"name": "finite_difference", "xi": "lr"},
        "regularizers": [{"name": "drop_path", "probability": 0.2}],
        "arch_lr": {"tied_to": "search.regularizers.0.probability", "times": 2},
    }
    loaded = load(search, "grid")
    assert [loaded.settings_of(draw).epochs for draw in unique_grid(loaded)] == [4, 6]
    assert drawn(loaded)[0].plain["arch_lr"] == 0.4
    second = {"name": "exact_hvp", "xi": {"tied_to": "search.precision"}}
    assert "search.estimator.xi: must be " in refused({"precision": "float64", "estimator": second})


def refused(search: Any) -> str:
    with pytest.raises(SpecError) as caught:
        load(search)
    return str(caught.value)


def test_a_run_keeps_the_tie_and_a_trial_the_number() -> None:
    loaded = load(OPEN)
    again = load_plain(loaded.to_plain(), "run.json")
    assert again.to_plain() == loaded.to_plain()
    assert again.to_plain()["search"]["weight_decay"] == {"tied_to": "search.arch_weight_decay"}
    assert again.to_plain()["search"]["estimator"]["choice"][1] == SECOND
    for draw in drawn(again):
        assert loaded.settings_of(draw).weight_decay == draw.plain["lr"] * 0.1


def test_an_option_may_be_tied() -> None:
    loaded = load({"lr": {"uniform": [0.1, 0.2]}, "arch_lr": {"choice": [0.003, {"tied_to": "search.lr"}]}})
    for draw in drawn(loaded):
        is_tied = draw.choices["search.arch_lr"] == "tied to search.lr"
        assert draw.plain["arch_lr"] == (draw.plain["lr"] if is_tied else 0.003)
    assert {draw.choices["search.arch_lr"] for draw in drawn(loaded)} == {0.003, "tied to search.lr"}


WRONG: dict[str, tuple[str, str]] = {
    "a place that is not written": (
        "search:\n  lr: 0.1\n  arch_lr: {tied_to: search.l}\n",
        "s.yaml:3: search.arch_lr: tied to search.l: search has no 'l' in this spec; did you mean 'lr'? (written there",
    ),
    "a default": (
        "search:\n  arch_lr: {tied_to: search.lr}\n",
        "s.yaml:2: search.arch_lr: tied to search.lr: search has no",
    ),
    "a mapping": (
        "search:\n  space: {name: darts-cnn}\n  lr: {tied_to: search.space}\n",
        "s.yaml:3: search.lr: tied to search.space: search.space is a mapping, and a value can be tied to a single",
    ),
    "an option that is a mapping": (
        "search:\n  estimator: {choice: [first_order, {name: exact_hvp}]}\n  lr: {tied_to: search.estimator}\n",
        "search.estimator[exact_hvp] is a mapping",
    ),
    "a list": (
        "search:\n  arch_betas: [0.5, 0.9]\n  lr: {tied_to: search.arch_betas}\n",
        "search.arch_betas is a list",
    ),
    "under a fixed value": (
        "search:\n  lr: 0.1\n  arch_lr: {tied_to: search.lr.x}\n",
        "search.lr is no mapping and has no x",
    ),
    "another option of a choice": (
        "search:\n  lr: {tied_to: search.estimator.xi}\n  estimator:\n"
        "    choice: [first_order, {name: exact_hvp, xi: {grid: [0.1, 0.2]}}]\n",
        "s.yaml:2: search.lr: tied to search.estimator.xi: search.estimator[first_order] is no mapping and has no xi, "
        "and there are configurations with both; tie within one option, or to a place that every configuration has",
    ),
    "itself": ("search:\n  lr: {tied_to: search.lr}\n", "search.lr follows from this value itself"),
    "a circle": (
        "search:\n  lr: {tied_to: search.arch_lr}\n  arch_lr: {tied_to: search.lr_min}\n"
        "  lr_min: {tied_to: search.lr}\n",
        "s.yaml:4: search.lr_min: tied to search.lr: search.lr_min follows from this value itself; give one of them",
    ),
    "a text times a number": (
        "search:\n  estimator: {name: exact_hvp, xi: {grid: [0.1, lr]}}\n"
        "  lr: {tied_to: search.estimator.xi, times: 2}\n",
        'search.estimator.xi[lr] is "lr", which cannot be multiplied; leave times out',
    ),
    "no place": (
        "search:\n  lr: {tied_to: lr}\n",
        'tied_to names another place by its keys, such as search.lr; got "lr"',
    ),
    "no number": (
        "search:\n  lr: {tied_to: search.arch_lr, times: x}\n",
        'times must be a number other than 0; got "x"',
    ),
    "nothing": ("search:\n  lr: {tied_to: search.arch_lr, times: 0}\n", "times must be a number other than 0; got 0"),
    "beside another key": (
        "search:\n  lr: {tied_to: search.arch_lr, x: 0}\n",
        "a tied value stands alone: 'tied_to' cannot",
    ),
    "outside search": (
        "data: {limit: {tied_to: search.epochs}}\nsearch: {epochs: 1}\n",
        "s.yaml:1: data.limit: a tied value can only stand under search",
    ),
    "the whole search": ("search: {tied_to: search.lr}\n", "s.yaml:1: search: must be a mapping of keys"),
    "a value that the setting refuses": (
        "search:\n  lr: {uniform: [0.1, 0.9]}\n  momentum: {tied_to: search.lr, times: 2}\n",
        "s.yaml:3: search.momentum: must be less than 1, got 1.8",
    ),
    "another tool's": ("search:\n  lr: {sample_from: [x]}\n", "write {tied_to: search.lr, times: 2}, with the place"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_followed_is_refused_at_its_line(name: str, tmp_path: Path) -> None:
    text, words = WRONG[name]
    (tmp_path / "s.yaml").write_text(text + "sweep: {searcher: random}\n")
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err


def test_each_tie_of_a_circle_is_told_once(tmp_path: Path) -> None:
    told = refused({"lr": {"tied_to": "search.arch_lr"}, "arch_lr": {"tied_to": "search.lr"}}).splitlines()
    assert [line.split(": ")[1] for line in told] == ["search.lr", "search.arch_lr"]


def test_what_follows_from_a_broken_tie_is_not_told_beside_it() -> None:
    second = {"name": "exact_hvp", "xi": {"tied_to": "search.l"}}
    (told,) = refused({"lr": 0.1, "estimator": {"choice": ["first_order", second]}}).splitlines()
    assert told.startswith("the spec:7: search.estimator.xi: tied to search.l: search has no 'l'")


def test_within_one_option_a_tie_is_fine_though_others_lack_the_place() -> None:
    second = {"name": "exact_hvp", "xi": {"uniform": [0.01, 0.1]}, "grad_clip": {"tied_to": "search.estimator.xi"}}
    loaded = load({"estimator": {"choice": ["first_order", second]}})
    found = [draw.plain["estimator"] for draw in drawn(loaded) if draw.plain["estimator"] != "first_order"]
    assert found
    assert all(each["xi"] == each["grad_clip"] for each in found)


def test_validate_shows_ties_beside_what_is_swept(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "search:\n  lr: {grid: [0.1, 0.2]}\n  estimator: {name: exact_hvp, xi: {tied_to: search.lr, times: 0.5}}\n"
    )
    done = run_here("validate", "s.yaml", cwd=tmp_path)
    assert done.code == 0, done.err
    shown = " ".join(done.out.replace("│", " ").split())
    assert "search.estimator.xi tied to search.lr, times 0.5 -" in shown
    assert "search 2 " in shown, "the tie multiplies nothing"


def test_a_point_may_leave_a_tied_value_out_and_not_say_another() -> None:
    loaded = load(OPEN)
    point = {"lr": 0.2, "estimator": {"name": "finite_difference", "epsilon": 0.1}}
    draw = located(loaded.search, point)
    assert isinstance(draw, Draw)
    assert draw.plain["estimator"]["xi"] == 0.1
    whole = loaded.settings_of(draw).model_dump(mode="json")
    assert located(loaded.search, whole) == draw
    wrong = located(loaded.search, {**point, "weight_decay": 0.5})
    assert isinstance(wrong, list)
    assert wrong[0].path == ("weight_decay",)
    assert "in this space it is 0.02" in wrong[0].message


def test_a_rehearsal_has_the_numbers() -> None:
    assert all("tied_to" not in str(draw.plain) for draw in configurations(load(OPEN), 3))


def test_where_a_scheduler_changes_a_setting_what_is_tied_to_it_changes_too() -> None:
    tree = load(OPEN).search
    perturbed = Perturbed(tree, chosen(tree, ()))
    assert perturbed.names == ("search.lr", EPSILON)
    draw = next(draw for draw in drawn(load(OPEN)) if draw.plain["estimator"] != "first_order")
    config = load(OPEN).settings_of(draw).model_dump(mode="json")
    changed, choices = perturbed.applied(config, draw.choices, {"search.lr": 0.4, EPSILON: 1})
    assert choices == {**draw.choices, "search.lr": 0.4, EPSILON: 0.1}
    assert (changed["lr"], changed["weight_decay"], changed["estimator"]["xi"]) == (0.4, 0.4 * 0.1, 0.2)
    assert changed["estimator"]["epsilon"] == 0.1


def test_a_setting_that_something_fixed_is_tied_to_may_not_change() -> None:
    search = {"epochs": 10, "lr": {"randint": [1, 3]}, "batch_size": {"tied_to": "search.lr", "times": 8}}
    sweep = {"searcher": "random", "scheduler": {"name": "pbt", "perturb": ["search.lr"]}}
    with pytest.raises(SpecError, match=r"search\.lr cannot change .*: search\.batch_size is tied to it, and cannot"):
        load(search, sweep)


OUTSIDE = """
from raydarts import registry
from raydarts.search.probes.entropy import Entropy

class Mine(Entropy):
    NAME = "mine"
    class Settings(registry.Settings):
        normal: float = 1.0
        tied_to: str = ""
"""


def test_settings_of_a_class_from_outside_may_be_called_like_a_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_tied_probe.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load({"probes": [{"name": "my_tied_probe:Mine", "normal": 2.0, "tied_to": "x"}]})
    assert loaded.search.is_constant
