"""Fronts, crowding distances and hypervolumes, worked out by hand and against Optuna's own."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from raydarts.study.pareto import Box, Place, crowding, dominates, fronts, hypervolume, places

POINTS = [(1.0, 5.0), (2.0, 3.0), (4.0, 1.0), (2.0, 4.0), (3.0, 3.0), (5.0, 5.0), (2.0, 3.0)]
"""Less is better. The front is (1, 5), (2, 3) twice and (4, 1). Then come (2, 4) and (3, 3). (5, 5) is the last."""


def test_a_point_dominates_what_is_nowhere_better_and_somewhere_worse() -> None:
    assert dominates((1, 2), (1, 3))
    assert not dominates((1, 2), (1, 2))
    assert not dominates((1, 3), (2, 2))


def test_fronts_worked_out_by_hand() -> None:
    assert fronts(POINTS) == [1, 1, 1, 2, 2, 3, 1]
    assert fronts([]) == []
    assert fronts([(3.0,), (1.0,), (1.0,), (2.0,)]) == [3, 1, 1, 2]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_fronts_are_those_of_peeling_one_after_the_other(objectives: int) -> None:
    draw = random.Random(objectives)
    for _ in range(30):
        points = [tuple(float(draw.randrange(6)) for _ in range(objectives)) for _ in range(40)]
        left, number, wanted = set(range(len(points))), 0, [0] * len(points)
        while left:
            number += 1
            front = [one for one in left if not any(dominates(points[other], points[one]) for other in left)]
            for one in front:
                wanted[one] = number
            left -= set(front)
        assert fronts(points) == wanted


def test_crowding_worked_out_by_hand() -> None:
    # Ranges: 4 and 10. The second point lies between the first and the third: 3 / 4 + 6 / 10.
    assert crowding([(0.0, 10.0), (1.0, 6.0), (3.0, 4.0), (4.0, 0.0)]) == [
        math.inf,
        pytest.approx(3 / 4 + 6 / 10),
        pytest.approx(3 / 4 + 6 / 10),
        math.inf,
    ]
    assert crowding([(1.0, 2.0)]) == [0.0]
    assert crowding([]) == []


def test_a_place_is_the_front_and_then_the_crowding() -> None:
    known = places([(0.0, 10.0), (1.0, 9.0), (3.0, 4.0), (4.0, 0.0), (4.0, 11.0)])
    assert [place.front for place in known] == [1, 1, 1, 1, 2]
    order = sorted(range(5), key=lambda index: (known[index].key, index))
    assert order == [0, 3, 2, 1, 4], "both ends, then the point with more room, then the crowded one"
    assert Place(2, math.inf).words == "front 2, an end of it"
    assert Place(1, 0.5).words == "front 1, crowding 0.5"


def test_hypervolumes_worked_out_by_hand() -> None:
    assert hypervolume([(1.0, 1.0)], (3.0, 2.0)) == 2.0
    # Three steps below (5, 6): widths 1, 2 and 1 by heights 1, 3 and 5.
    assert hypervolume([(1.0, 5.0), (2.0, 3.0), (4.0, 1.0), (4.5, 4.0)], (5.0, 6.0)) == 1 * 1 + 2 * 3 + 1 * 5
    assert hypervolume([(5.0, 1.0)], (5.0, 6.0)) == 0.0
    assert hypervolume([], (1.0, 1.0)) == 0.0
    assert hypervolume([(0.0, 0.0, 0.0)], (1.0, 2.0, 3.0)) == 6.0


@pytest.mark.parametrize("objectives", [2, 3])
def test_hypervolumes_are_optunas(objectives: int) -> None:
    from optuna._hypervolume import compute_hypervolume

    generator = np.random.default_rng(objectives)
    for _ in range(20):
        points = generator.uniform(0, 1.2, size=(12, objectives))
        reference = (1.0,) * objectives
        inside = points[(points < 1).all(axis=1)]
        theirs = compute_hypervolume(inside, np.ones(objectives)) if len(inside) else 0.0
        assert hypervolume(map(tuple, points.tolist()), reference) == pytest.approx(theirs)


def test_a_box_is_the_range_and_a_tenth_more() -> None:
    box = Box.around([(1.0, 5.0), (2.0, 3.0), (3.0, 3.0)])
    assert box.ideal == (1.0, 3.0)
    assert box.reference == pytest.approx((3.2, 5.2))
    assert box.hypervolume([(1.0, 3.0)]) == pytest.approx(1.0)
    assert box.hypervolume([]) == 0.0
    flat = Box.around([(1.0, 5.0), (1.0, 3.0)])
    assert flat.reference == pytest.approx((2.0, 5.2))
    for one, other in itertools.permutations([(1.0, 5.0), (2.0, 3.0)]):
        assert box.hypervolume([one, other]) >= box.hypervolume([one])
