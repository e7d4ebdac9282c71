"""How many trials share a process."""

from __future__ import annotations

import pytest

from raydarts.config.fusing import Fuse, lanes_of


@pytest.mark.parametrize(
    ("fuse", "trials", "places", "at_a_time", "lanes"),
    [
        ("auto", 8, 2, None, 4),  # every process has trials before one has more
        ("auto", 3, 2, None, 2),
        ("auto", 2, 2, None, 1),
        ("auto", 100, 2, None, 8),  # and no process has more than 8
        ("auto", 100, 64, None, 2),
        ("auto", 8, 2, 3, 2),
        ("auto", 0, 2, None, 1),
        ("off", 100, 1, None, 1),
        (8, 8, 2, None, 8),
        (8, 5, 2, None, 5),
        (16, 100, 1, None, 16),
        (8, 100, 2, 3, 3),
    ],
)
def test_lanes(fuse: Fuse, trials: int, places: int, at_a_time: int | None, lanes: int) -> None:
    assert lanes_of(fuse, trials, places, at_a_time) == lanes
