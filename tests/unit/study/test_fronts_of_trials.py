"""Trials with several objectives: numbers, replicates, promotion and the front, worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from raydarts.registry import Choose
from raydarts.study.bars import Bar
from raydarts.study.configurations import configurations
from raydarts.study.front import front_of
from raydarts.study.objectives import SearchScore
from raydarts.study.promotion import promotion, promotion_order
from raydarts.study.replicates import together
from raydarts.study.results import TrialRecord
from raydarts.study.study import Outcome, ended
from tests.fault.fakes import genotype

HEALTH = Bar("skip_share", "skip_share", most=0.5)


def score(first: str = "healthy_accuracy", *constraints: Bar) -> SearchScore:
    accuracy, size = (Choose("objective").parse(name).build().score() for name in (first, "parameters"))
    return replace(accuracy, health=(HEALTH,), constraints=constraints, more=(size,))


def row(accuracy: float | None, size: float, skips: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"validation_accuracy": accuracy, "parameters": size, "skip_share": skips, **more}


def record(
    number: int, figures: dict[str, Any], status: str = "completed", epochs: int = 2, configuration: int | None = None
) -> TrialRecord:
    rows = [{"epoch": epoch, **figures} for epoch in range(1, epochs + 1)]
    result: dict[str, Any] = {"genotype": genotype(1), "genotype_id": f"g{number}", "skips": {"normal": 1}}
    description: dict[str, Any] = {"index": number}
    if configuration is not None:
        description["configuration"] = configuration
    return TrialRecord(f"{number:04d}", status, description, rows, result)  # type: ignore[arg-type]


def test_an_unhealthy_row_is_dominated_by_every_healthy_one() -> None:
    ranked = score()
    worst, best = row(0.01, 1e9), row(0.99, 1.0, skips=1.0)
    assert ranked.orders(row(0.8, 5.0)) == (0.8, 5.0)
    healthy, collapsed = (ranked.costs(ranked.orders(each) or ()) for each in (worst, best))
    assert all(a < b for a, b in zip(healthy, collapsed, strict=True))
    assert all(a <= b for a, b in zip(collapsed, ranked.costs(ranked.worst_of_each), strict=True))
    assert score("validation_accuracy").orders(best) == (0.99, 1.0), "health ranks where an objective asks for it"
    assert ranked.orders(row(None, 5.0)) is None


def test_a_bar_says_by_how_much_it_is_broken() -> None:
    bar = Bar("size", "size", most=4.0, least=2.0)
    assert [bar.excess({"size": value}) for value in (5.0, 4.0, 3.0, 1.0)] == [0.25, 0.0, -0.25, 0.5]
    assert Bar("edges", "edges", most=0.0).excess({"edges": 3}) == 3.0
    assert bar.excess({}) == 1.0


def test_what_a_searcher_is_told_of_one_and_of_several_objectives() -> None:
    light = Bar("flops", "flops", most=10.0)
    several, one = score("healthy_accuracy", light), replace(score("healthy_accuracy", light), more=())
    figures = row(0.8, 5.0, skips=0.75, parameter_free_share=0.75, flops=20.0)
    told = ended(several, "completed", figures)
    assert (told.values, told.excesses) == ((0.8, 5.0), (0.5, 1.0)), "figures as they are, health as a constraint"
    told = ended(one, "completed", figures)
    assert told.values == (pytest.approx(0.8 - 0.4 * 0.25),), "health in the value, the constraint beside it"
    assert told.excesses == (1.0,)
    assert told.value == pytest.approx(0.8 - 0.4 * 0.25 - 0.2), "the one number for searchers without constraints"
    plain = ended(replace(one, constraints=()), "completed", figures)
    assert (plain.values, plain.excesses) == (None, ())
    assert Outcome.from_json(json.loads(json.dumps(told.to_json()))) == told
    assert set(plain.to_json()) == {"status", "value", "reports"}, "as it was with one objective"


def test_a_configuration_has_the_mean_of_each_objective_and_its_worst_excess() -> None:
    one = Outcome("completed", 0.8, ((1, 0.7), (2, 0.8)), values=(0.8, 4.0), excesses=(-0.5, 0.2),
                  points=((1, (0.7, 5.0)), (2, (0.8, 4.0))))  # fmt: skip
    other = Outcome("stopped", 0.6, ((1, 0.6),), values=(0.6, 8.0), excesses=(0.1, -0.1), points=((1, (0.6, 8.0)),))
    both = together([one, other])
    assert both.values == (pytest.approx(0.7), 6.0)
    assert both.excesses == (0.1, 0.2)
    assert both.points == ((1, (pytest.approx(0.65), 6.5)),)
    assert together([one, Outcome("failed")]).values == (0.8, 4.0)


FRONT = [row(0.9, 9.0), row(0.5, 5.0), row(0.1, 1.0), row(0.4, 6.0), row(0.52, 5.2), row(0.95, 0.5, skips=1.0)]
"""The first three and the fifth are on the front. The fourth is dominated. The last one has collapsed."""


def test_promotion_takes_the_front_by_crowding_and_then_the_next_one() -> None:
    records = [record(number, each) for number, each in enumerate(FRONT)]
    records.append(record(6, row(0.99, 0.1), status="stopped"))
    ordered = [each.id for each in promotion_order(records, score())]
    # The ends are first, the better accuracy before the other. (.52, 5.2) has .4 / .8 + 4 / 8 around it, (.5, 5) .42 /
    # .8 + 4.2 / 8. Then come the second front, the stopped trial, and what health speaks against.
    assert ordered == ["0000", "0002", "0001", "0004", "0003", "0006", "0005"]
    decisions = promotion(records, score(), top_k=3, max_skips=None)
    assert [each["id"] for each in decisions if each["promoted"]] == ["g0", "g2", "g1"]
    assert decisions[0]["reason"] == (
        "number 1 of top_k 3; front 1, an end of it (validation_accuracy 0.9, parameters 9)"
    )
    assert "front 1, crowding 1.05 (" in str(decisions[2]["reason"])
    assert (decisions[4]["front"], decisions[4]["figures"]) == (2, {"validation_accuracy": 0.4, "parameters": 6.0})


def test_promotion_with_replicates_takes_the_front_of_means() -> None:
    pairs = [(row(0.9, 8.0), row(0.7, 8.0)), (row(0.6, 2.0), row(0.6, 4.0)), (row(0.99, 9.0), row(0.41, 9.0))]
    records = [
        record(2 * number + seed, each, configuration=number)
        for number, pair in enumerate(pairs)
        for seed, each in enumerate(pair)
    ]
    groups = configurations(records, score())
    assert [group.means for group in groups] == [
        {"validation_accuracy": pytest.approx(0.8), "parameters": 8.0},
        {"validation_accuracy": 0.6, "parameters": 3.0},
        {"validation_accuracy": pytest.approx(0.7), "parameters": 9.0},
    ]
    ordered = [each.id for each in promotion_order(records, score())]
    assert ordered[:4] == ["0000", "0001", "0002", "0003"]
    assert ordered[4:] == ["0004", "0005"], "its lucky seed has the best accuracy of all, and its mean is dominated"
    front = front_of(records, groups, score())
    assert front is not None
    assert [member["name"] for member in front["members"]] == ["0000", "0001"]
    assert front["of"] == "configurations"


def test_the_front_is_of_completed_trials_that_nothing_speaks_against() -> None:
    records = [record(number, each) for number, each in enumerate(FRONT)]
    records += [record(6, row(0.99, 0.1), status="stopped"), record(7, row(None, 1.0))]
    front = front_of(records, (), score())
    assert front is not None
    assert [member["name"] for member in front["members"]] == ["0000", "0004", "0001", "0002"]
    assert (front["of"], front["counted"]) == ("trials", 5)
    assert front["ideal"] == {"validation_accuracy": 0.9, "parameters": 1.0}
    assert front["reference"] == {
        "validation_accuracy": pytest.approx(0.1 - 0.08),
        "parameters": pytest.approx(9.8),
    }
    # In the box (0.88 wide in accuracy, 8.8 in size) each member adds its step up to the next smaller cell.
    steps = [(0.9, 9.0, 9.8), (0.52, 5.2, 9.0), (0.5, 5.0, 5.2), (0.1, 1.0, 5.0)]
    volume = sum((accuracy - 0.02) * (end - start) for accuracy, start, end in steps) / (0.88 * 8.8)
    assert front["hypervolume"] == pytest.approx(volume)
    assert front_of(records, (), replace(score(), more=())) is None


def test_with_one_objective_the_order_is_as_before() -> None:
    records = [record(number, each) for number, each in enumerate(FRONT)]
    ordered = [each.id for each in promotion_order(records, replace(score(), more=()))]
    assert ordered == ["0000", "0004", "0001", "0003", "0002", "0005"]
