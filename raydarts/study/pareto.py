"""Points of several objectives: which are on the front, how they are ranked, and the volume that they dominate.

A point is a tuple with one number for each objective. Less is better in each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Point = tuple[float, ...]


class Place(NamedTuple):
    """Where a point ranks. `front`: 1 is the Pareto front, 2 is the front of the others without it, and so on.

    `crowding`: how far apart its neighbours on its front are. More is better. The ends of a front have infinity.
    """

    front: int
    crowding: float

    @property
    def key(self) -> tuple[int, float]:
        """Orders places, the best first."""
        return self.front, -self.crowding

    @property
    def words(self) -> str:
        how = "an end of it" if math.isinf(self.crowding) else f"crowding {self.crowding:.3g}"
        return f"front {self.front}, {how}"


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse than `other`, and better in at least one objective."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def fronts(points: Sequence[Point]) -> list[int]:
    """The number of each point's front. Equal points are on the same front."""
    numbers = [0] * len(points)
    made: list[list[Point]] = []
    for index in sorted(range(len(points)), key=lambda index: points[index]):
        # Whatever dominates a point comes before it in this order. And what is dominated by a front is dominated by
        # all fronts before that one. So the first front that does not dominate it is its own.
        low, high = 0, len(made)
        while low < high:
            middle = (low + high) // 2
            if _front_dominates(made[middle], points[index]):
                low = middle + 1
            else:
                high = middle
        if low == len(made):
            made.append([])
        made[low].append(points[index])
        numbers[index] = low + 1
    return numbers


def _front_dominates(front: Sequence[Point], point: Point) -> bool:
    """Whether a point of the front dominates `point`. The points came in sorted order, and `point` comes after them."""
    if len(point) == 2:
        return dominates(front[-1], point)  # of two objectives the last one has the least second number
    return any(dominates(each, point) for each in reversed(front))


def crowding(points: Sequence[Point]) -> list[float]:
    """The crowding distance of each point of one front (Deb et al. 2002).

    For each objective it adds the distance between a point's two neighbours, as a share of the front's range. The ends
    have infinity. An objective in which all points are equal adds nothing.
    """
    distances = [0.0] * len(points)
    for objective in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda index: (points[index][objective], index))
        low, high = points[order[0]][objective], points[order[-1]][objective]
        if high == low:
            continue
        distances[order[0]] = distances[order[-1]] = math.inf
        for before, index, after in zip(order, order[1:], order[2:], strict=False):
            distances[index] += (points[after][objective] - points[before][objective]) / (high - low)
    return distances


def places(points: Sequence[Point]) -> list[Place]:
    """The place of each point: its front, then its crowding distance on that front."""
    numbers = fronts(points)
    known: list[Place] = [Place(0, 0.0)] * len(points)
    for number in set(numbers):
        of_front = [index for index, each in enumerate(numbers) if each == number]
        for index, distance in zip(of_front, crowding([points[index] for index in of_front]), strict=True):
            known[index] = Place(number, distance)
    return known


class Box(NamedTuple):
    """What a hypervolume is measured in. `ideal`: the best of each objective. `reference`: a point worse than all."""

    ideal: Point
    reference: Point

    @classmethod
    def around(cls, points: Sequence[Point]) -> Box:
        """The box of some points. The reference is their worst in each objective plus a tenth of their range.

        An objective in which all points are equal has a range of 1.
        """
        ideal, worst = (tuple(end(values) for values in zip(*points, strict=True)) for end in (min, max))
        reference = (high + (0.1 * (high - low) if high > low else 1.0) for low, high in zip(ideal, worst, strict=True))
        return cls(ideal, tuple(reference))

    def within(self, point: Point) -> Point:
        """The point with 0 as the ideal and 1 as the reference of each objective."""
        return tuple(
            (value - low) / (high - low) for value, low, high in zip(point, self.ideal, self.reference, strict=True)
        )

    def hypervolume(self, points: Iterable[Point]) -> float:
        """The share of the box that the points dominate. 1: a point that is the best in all objectives."""
        return hypervolume([self.within(point) for point in points], (1.0,) * len(self.ideal))


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """The volume that the points dominate, up to the reference. A point that is not better than it adds nothing.

    It slices along the last objective. That is fast for two objectives, and good enough for a few more.
    """
    inside = sorted(
        {point for point in points if all(a < b for a, b in zip(point, reference, strict=True))},
        key=lambda point: point[-1],
    )
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    volume = 0.0
    for number, point in enumerate(inside):
        above = inside[number + 1][-1] if number + 1 < len(inside) else reference[-1]
        if above > point[-1]:
            face = hypervolume((each[:-1] for each in inside[: number + 1]), reference[:-1])
            volume += face * (above - point[-1])
    return volume
