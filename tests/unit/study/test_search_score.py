"""What search trials are ranked by: one finite number a row, and the form for models."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from raydarts.registry import Choose
from raydarts.study.bars import Bar
from raydarts.study.objectives import SearchScore, search_score_of
from raydarts.study.objectives.base import Objective

HEALTH = (Bar("skip_share", "skip_share", most=0.5), Bar("parameter_free_share", "parameter_free_share", most=0.7))


def ranked(name: str, *constraints: Bar) -> SearchScore:
    objective: Objective = Choose("objective").parse(name).build()
    plain = objective.score().to_json() | {"health": [bar.to_json() for bar in HEALTH]}
    return SearchScore.from_json(plain | {"constraints": [bar.to_json() for bar in constraints]})


def row(figure: float | None, skips: float = 0.0, free: float = 0.0, **more: Any) -> dict[str, Any]:
    shares = {"skip_share": skips, "parameter_free_share": max(free, skips)}
    return {"validation_accuracy": figure, "validation_perplexity": figure, **shares, **more}


@pytest.mark.parametrize(
    ("name", "figures"), [("healthy_accuracy", [0.0, 0.1, 0.5, 1.0]), ("healthy_perplexity", [1.0, 90.0, 4e4, 1e140])]
)
def test_every_healthy_row_is_before_every_other_and_the_figure_orders_within(name: str, figures: list[float]) -> None:
    score = ranked(name)
    best_first = figures if score.mode == "min" else figures[::-1]
    wanted = [row(figure) for figure in best_first] + [row(figure, skips=1) for figure in best_first]
    numbers = [score.sign * number for each in wanted if (number := score.order(each)) is not None]
    assert len(numbers) == len(wanted)
    assert all(better > worse for better, worse in itertools.pairwise(numbers))
    assert all(number >= score.sign * score.worst for number in numbers)


def test_a_healthy_rows_number_is_its_figure() -> None:
    assert ranked("healthy_accuracy").order(row(0.83)) == 0.83
    assert ranked("healthy_perplexity").order(row(83.5)) == 83.5
    assert ranked("validation_accuracy").order(row(0.83, skips=1)) == 0.83


@pytest.mark.parametrize("figure", [None, float("nan"), float("inf"), "0.5", True])
def test_invalid_figure_has_no_number(figure: Any) -> None:
    score = ranked("healthy_accuracy")
    assert (score.of(row(figure)), score.order(row(figure)), score.finite(row(figure))) == (None, None, None)


def test_a_row_without_the_facts_is_not_taken_for_healthy() -> None:
    score = ranked("healthy_accuracy")
    bare = {"validation_accuracy": 0.9}
    assert score.against(bare) == ["skip_share is not known", "parameter_free_share is not known"]
    assert score.unhealthy(bare) == [], "nothing is told of what nobody measured"
    assert (score.order(bare) or 0) < 0


def test_the_finite_form_takes_five_points_for_each_edge_beyond_four_of_eight() -> None:
    score = ranked("healthy_accuracy")
    values = [score.finite(row(0.9, free=edges / 8)) for edges in range(9)]
    assert values == pytest.approx([0.9] * 5 + [0.85, 0.8, 0.75, 0.7])
    assert score.finite(row(0.9, skips=1)) == pytest.approx(0.7)
    assert ranked("validation_accuracy").finite(row(0.9, skips=1)) == 0.9
    worse, better = ranked("healthy_perplexity").finite(row(100.0, skips=1)), row(100.0)
    assert worse == pytest.approx(200)
    assert ranked("healthy_perplexity").finite(better) == 100


def test_a_constraint_ranks_behind_with_any_objective() -> None:
    score = ranked("validation_accuracy", Bar("parameters", "parameters", most=4e6, least=1e6))
    small, fits, large = row(0.9, parameters=1e5), row(0.2, parameters=2e6), row(0.95, parameters=5e6)
    assert sorted([small, fits, large], key=lambda each: -(score.order(each) or 0)) == [fits, large, small]
    assert score.against(large) == ["parameters is 5e+06, at most 4e+06 is allowed"]
    assert score.against(row(0.9)) == ["parameters is not known"]
    assert (score.finite(large) or 0) < (score.finite({**large, "parameters": 2e6}) or 0)


def test_a_run_keeps_all_that_readers_need() -> None:
    score = ranked("healthy_perplexity", Bar("flops", "flops", most=1e9))
    assert search_score_of({"spec": {"ranked": score.to_json()}}) == score


def test_a_run_of_before_is_ranked_by_the_metric_that_it_named() -> None:
    score = search_score_of({"spec": {"sweep": {"metric": "alpha_loss", "mode": None}}})
    assert (score.mode, score.healthy, score.order({"alpha_loss": 2.0})) == ("min", False, 2.0)
