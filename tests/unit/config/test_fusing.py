"""How many trials share a process."""

from __future__ import annotations

import pytest

from raydarts.config.fusing import lanes_of, reasons
from raydarts.config.spec import SweepSettings


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
def test_lanes(fuse: object, trials: int, places: int, at_a_time: int | None, lanes: int) -> None:
    sweep = SweepSettings.model_validate({"fuse": fuse, "max_concurrent": at_a_time})
    assert lanes_of(sweep, trials, places) == lanes


@pytest.mark.parametrize(("fuse", "gpus", "lanes"), [("auto", 0.25, 1), ("auto", 1, 8), (4, 0.25, 4)])
def test_a_share_of_a_gpu_is_that_of_one_trial_unless_the_spec_says_how_many(
    fuse: object, gpus: float, lanes: int
) -> None:
    sweep = SweepSettings.model_validate({"fuse": fuse, "resources": {"gpus": gpus}})
    assert lanes_of(sweep, 100, 4) == lanes
    said = reasons(sweep, [])
    assert len(said) == (lanes == 1)
    assert all("sweep.resources.gpus is 0.25" in reason for reason in said)
