"""What is compared with what: in a grid everything else is equal, in random draws the search seed is."""

from __future__ import annotations

import itertools
import random
from typing import Any

from raydarts.report.blocks import blocks_for, seed_blocks
from raydarts.report.findings import findings
from raydarts.report.gather import Run, Searched
from raydarts.report.swept import short, swept
from tests.synthetic_run import spec

ESTIMATOR, XI = "search.estimator", "search.estimator[finite_difference].xi"


def search(index: int, choices: dict[str, Any], metric: float = 0.5, skips: int = 3) -> Searched:
    seed = choices.get("search.seed", 0)
    return Searched(f"{index:04d}", "completed", seed, choices, metric, skips, {"normal": skips}, None, None, 1)


def grid(skips_spared: int = 2, seeds: int = 3) -> Run:
    """seed x dropout x (first order, or second order with three xi): as a grid search enumerates it."""
    rng, searches = random.Random(0), []
    for seed, drop in itertools.product(range(seeds), (0.0, 0.1, 0.2)):
        for xi in (None, 0.01, 0.1, "lr"):
            choices: dict[str, Any] = {"search.seed": seed, "search.drop": drop, ESTIMATOR: "first_order"}
            if xi is not None:
                choices |= {ESTIMATOR: "finite_difference", XI: xi}
            skips = 5 - skips_spared * (xi is not None) + 10 * seed + rng.choice([0, 1])  # seeds differ by far more
            searches.append(search(len(searches), choices, rng.random(), skips))
    return Run({"spec": spec("")}, searches, ())


def test_a_grid_is_compared_at_equal_seed_and_other_settings() -> None:
    run = grid()
    estimator, xi = run.setting(ESTIMATOR), run.setting(XI)
    assert estimator is not None
    assert xi is not None
    assert blocks_for(run, estimator, run.completed).count == 9  # xi hangs under it, and is part of its effect
    second = [found for found in run.completed if XI in found.choices]
    found = blocks_for(run, xi, second)
    assert (found.count, found.words) == (9, "blocks of equal search seed and other settings")


def test_a_small_effect_is_found_beneath_the_seeds_own_differences() -> None:
    found = next(f for f in findings(grid()) if (f.subject, f.outcome) == (ESTIMATOR, "skip connections"))
    assert found.claims
    assert "finite_difference has on average" in found.sentence
    assert "fewer skip connections than first_order" in found.sentence
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2 < found.high


def test_continuous_draws_are_compared_at_equal_seed_alone() -> None:
    rng = random.Random(0)
    searches = [
        search(index, {"search.seed": index % 2, "search.lr": rng.random(), "search.kind": rng.choice("ab")})
        for index in range(20)
    ]
    run = Run({"spec": spec("")}, searches, ())
    kind = run.setting("search.kind")
    assert kind is not None
    assert blocks_for(run, kind, searches).words == "blocks of equal search seed"
    assert seed_blocks(searches).count == 2
    assert seed_blocks([search(index, {"search.seed": index}) for index in range(9)]).count == 1


def test_names_are_short_unless_two_would_be_equal() -> None:
    assert short(XI) == "xi [finite_difference]"
    choices = [{"search.a[x].lr": 1, "search.b[x].lr": 1, "search.lr": 0.1}, {"search.a[x].lr": 2, "search.b[x].lr": 2}]
    assert [setting.label for setting in swept(choices)] == ["a[x].lr", "b[x].lr"]
