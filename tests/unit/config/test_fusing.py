"""How many trials share a process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from raydarts.config.fusing import lanes_of, largest_group, reasons, spread
from raydarts.config.loader import load_spec
from raydarts.config.plan import search_trials
from raydarts.config.spec import SweepSettings
from tests.commands import run_here

SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "digits"},
    "search": {"space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1}, "estimator": "first_order"},
}
TEXT: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "pydoc_topics"},
    "search": {"space": {"name": "darts-rnn", "nodes": 2, "units": 3}, "estimator": "first_order"},
}


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
    assert spread(sweep, trials, places) == lanes


@pytest.mark.parametrize(("fuse", "gpus", "lanes"), [("auto", 0.25, 1), ("auto", 1, 8), (4, 0.25, 4)])
def test_a_share_of_a_gpu_is_that_of_one_trial_unless_the_spec_says_how_many(
    fuse: object, gpus: float, lanes: int
) -> None:
    sweep = SweepSettings.model_validate({"fuse": fuse, "resources": {"gpus": gpus}})
    assert spread(sweep, 100, 4) == lanes
    said = reasons(load_spec({**SPEC, "sweep": {"fuse": fuse, "resources": {"gpus": gpus}}}))
    assert len(said) == (lanes == 1)
    assert all("sweep.resources.gpus is 0.25" in reason for reason in said)


ESTIMATORS = {"choice": ["first_order", "finite_difference", "exact_hvp"]}


@pytest.mark.parametrize(
    ("spec", "search", "sweep", "largest"),
    [
        (SPEC, {}, {"searcher": "grid", "replicates": [0, 1, 2]}, 3),
        (SPEC, {"estimator": ESTIMATORS}, {"searcher": "grid", "replicates": [0, 1, 2]}, 3),
        (SPEC, {"estimator": ESTIMATORS, "lr": {"grid": [0.1, 0.2]}}, {"searcher": "grid"}, 2),
        (SPEC, {"relaxation": {"name": "gumbel", "hard": True}}, {"searcher": "grid", "replicates": [0, 1]}, 1),
        # A searcher may draw one structure again and again.
        (SPEC, {"estimator": ESTIMATORS}, {"searcher": {"name": "random", "trials": 10}}, 10),
        # Search seeds share a process, though each cuts the text into batches of other lengths.
        (TEXT, {"lr": {"grid": [1, 2]}}, {"searcher": "grid", "replicates": [0, 1, 2]}, 6),
        (TEXT, {"text": {"bptt_deviation": {"grid": [1, 2]}}}, {"searcher": "grid", "replicates": [0, 1, 2]}, 3),
    ],
)
def test_no_group_is_larger_than_the_trials_of_like_structure(
    spec: dict[str, Any], search: dict[str, Any], sweep: dict[str, Any], largest: int
) -> None:
    loaded = load_spec({**spec, "search": {**spec["search"], **search}, "sweep": sweep})
    trials = search_trials(loaded)
    assert largest_group(loaded, trials) == largest
    assert lanes_of(loaded, trials, 1) == min(largest, 8)
    assert lanes_of(replace(loaded, most_lanes=2), trials, 1) == min(largest, 2)
    assert lanes_of(replace(loaded, most_lanes=2), trials, 1, that_fit=False) == min(largest, 8)


def test_the_plan_says_that_search_seeds_on_text_share_a_process(tmp_path: Path) -> None:
    spec = {**TEXT, "sweep": {"searcher": "grid", "replicates": [0, 1, 2]}}
    (tmp_path / "text.yaml").write_text(yaml.safe_dump(spec))
    told = run_here("validate", tmp_path / "text.yaml").out
    assert "not fused" not in told
    assert "trials at a time: sweep 3 (up to 2 in a process)\n" in told
