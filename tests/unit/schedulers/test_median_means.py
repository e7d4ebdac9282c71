"""The median rule keeps its means, and answers as Ray Tune's own object does."""

from __future__ import annotations

import random

import pytest
from ray.tune.schedulers import MedianStoppingRule

from raydarts.registry import Choose
from raydarts.schedulers.base import Horizon
from raydarts.schedulers.driving import TIME, Driven
from raydarts.study.history import Decision, Report, name_of
from raydarts.study.objectives import score_named

EPOCHS = 12


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["max", "min"])
def test_matches_ray_tunes_median_rule(seed: int, mode: str) -> None:
    horizon = Horizon(score_named("figure", mode), EPOCHS, 0)
    ours = Choose("scheduler").parse({"name": "median", "grace_period": 3, "min_trials": 2}).build().build(horizon)
    rule = MedianStoppingRule(time_attr=TIME, metric=horizon.metric, mode=mode, grace_period=3, min_samples_required=2)
    theirs, drawn = Driven(rule, horizon), random.Random(seed)
    trials = [name_of(index) for index in range(20)]
    for each in (ours, theirs):
        each.expect(len(trials))
        for name in trials:
            each.add(name, {}, {})
    epochs, stopped = dict.fromkeys(trials, 0), 0
    while epochs:
        name = drawn.choice(sorted(epochs))
        epochs[name] += 1
        value = None if drawn.random() < 0.1 else float(drawn.randrange(6))  # some are equal, some are missing
        report = Report(name, epochs[name], value)
        answers = [each.decide(report) for each in (ours, theirs)]
        assert answers[0] == answers[1]
        stopped += answers[0].decision is Decision.STOP
        if epochs[name] == EPOCHS or answers[0].decision is Decision.STOP:
            assert ours.ended(name, report) == theirs.ended(name, report)
            del epochs[name]
    assert 0 < stopped < len(trials)
