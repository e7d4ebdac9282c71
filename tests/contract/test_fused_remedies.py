"""Every remedy that says it runs in lanes gives the same search as alone; every other one is refused with a reason."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from remedies import REMEDIES, chosen, search, spec

from raydarts.registry import Member, members
from raydarts.search import fused
from raydarts.search.fused import FusedSearch, structure, unfusable
from raydarts.search.settings import SearchSettings
from tests.unit.search.lanes import require_equal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ESTIMATOR = {"name": "finite_difference", "epsilon": 0.01}
ALONE = {  # why a search with it is no lane
    "regularizer:lambda_alignment": "lambda_alignment does not run in lanes",
    "regularizer:oles": "oles does not run in lanes",
    "regularizer:sdarts_adv": "sdarts_adv does not run in lanes",
    "relaxation:gumbel": "leaves out other candidates",
    "selection:perturbation": "trains each supernet further",
}


def changes(key: str, seed: int) -> dict[str, Any]:
    return {"seed": seed, **spec([chosen(key)], [key])}


def test_all_remedies_are_lanes_or_refused_by_name() -> None:
    for key in REMEDIES:
        reasons = "; ".join(unfusable(search("first_order", changes(key, 0)).settings))
        assert (ALONE[key] in reasons) if key in ALONE else not reasons, f"{key}: {reasons}"


def test_remedies_in_lanes_equal_the_same_searches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remedies that do not change the supernet share a group, a lane each. Each other one has a group of two lanes."""

    def never(lane: Any) -> None:
        raise AssertionError(f"lane {lane.index} was run again alone")

    monkeypatch.setattr(fused._Lane, "repeat", never)
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for seed, key in enumerate(key for key in REMEDIES if key not in ALONE):
        for lane in (seed, seed + 100):
            plain = changes(key, lane)
            settings = search(ESTIMATOR, plain).settings
            if lane == seed or '"supernet": []' not in structure(settings):
                groups[structure(settings)].append((key, plain))
    assert len(groups) > 1
    for lanes in groups.values():
        assert len(lanes) > 1
        together = [search(ESTIMATOR, plain) for _, plain in lanes]
        group = FusedSearch()
        rows = [group.run_epoch(together) for _ in range(2)]
        for number, (key, plain) in enumerate(lanes):
            alone = search(ESTIMATOR, plain)
            for epoch in rows:
                require_equal(epoch[number], alone.run_epoch(), key)
            require_equal(together[number].state_dict(), alone.state_dict(), key)


def test_a_class_from_outside_must_say_itself_that_it_runs_in_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = type("Mine", (members("regularizer")["beta_decay"],), {"NAME": "mine"})
    monkeypatch.setattr("raydarts.registry.resolve", lambda family, name: _resolve(family, name, inherited))
    settings = SearchSettings.model_validate({"regularizers": ["mine:Mine"]})
    assert unfusable(settings) == ["the regularizer mine:Mine does not run in lanes"]
    inherited.LANES = True
    assert unfusable(settings) == []


def _resolve(family: str, name: str, mine: type[Member]) -> type[Member]:
    return mine if name == "mine:Mine" else members(family)[name]


def test_searches_alone_and_of_other_shapes_have_other_structures() -> None:
    def of(**changed: Any) -> str:
        return structure(search(ESTIMATOR, changed).settings)

    same = {"seed": 5, "lr": 1.0, "epochs": 7, "regularizers": ["beta_decay"], "grad_clip": 0.0, "arch_lr": 1.0}
    assert of() == of(**same) == structure(search({"name": "finite_difference", "epsilon": 3.0}, {}).settings)
    others: list[dict[str, Any]] = [
        {"batch_size": 8},
        {"precision": "float32"},
        {"estimator": "first_order"},
        {"estimator": {"name": "finite_difference", "xi": 0}},
        {"space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 2}},
        {"regularizers": [{"name": "partial_channels", "k": 2}]},
    ]
    assert len({of(), *(of(**other) for other in others)}) == len(others) + 1


def test_seeds_that_cut_a_text_into_other_lengths_have_other_structures() -> None:
    def of(seed: int, **text: Any) -> str:
        return structure(SearchSettings.model_validate({"seed": seed, "space": "darts-rnn", "text": text}))

    assert of(1) != of(2)
    assert of(1, short_probability=0) == of(2, short_probability=0)
    assert of(1, short_probability=0, bptt_deviation=5) != of(2, short_probability=0, bptt_deviation=5)
