"""Every remedy that says it runs in lanes gives the same search as alone; every other one is refused with a reason."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from remedies import REMEDIES, chosen, recurrent, search, spec
from test_recurrent import REFUSED as NOT_ON_TEXT
from test_recurrent import SETTINGS as ON_TEXT

from raydarts.registry import Member, members
from raydarts.search import fused
from raydarts.search.fused import FusedSearch, structure, unfusable
from raydarts.search.settings import SearchSettings
from tests.unit.search.lanes import require_equal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ESTIMATOR = {"name": "finite_difference", "epsilon": 0.01}
ALONE = {"relaxation:gumbel": "leaves out other candidates"}  # why a search with it is no lane
# A difference divided by the published epsilon, 1e-4, enlarges rounding to more than 1e-12.
EXACT: dict[str, dict[str, Any]] = {"regularizer:lambda_alignment": {"epsilon": 0.1}}


def changes(key: str, seed: int, **settings: Any) -> dict[str, Any]:
    return {"seed": seed, **spec([chosen(key, **EXACT.get(key, {}), **settings)], [key])}


def test_all_remedies_are_lanes_or_refused_by_name() -> None:
    for key in REMEDIES:
        reasons = "; ".join(unfusable(search("first_order", changes(key, 0)).settings))
        assert (ALONE[key] in reasons) if key in ALONE else not reasons, f"{key}: {reasons}"


@pytest.mark.parametrize("search", [search, recurrent], ids=["images", "text"])
def test_remedies_in_lanes_equal_the_same_searches_alone(search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remedies that neither change the supernet nor ask for passes share a group, a lane each.

    Each other one has a group of two lanes. Each seed cuts the text into batches of other lengths.
    """

    def never(lane: Any) -> None:
        raise AssertionError(f"lane {lane.index} was run again alone")

    monkeypatch.setattr(fused._Lane, "repeat", never)
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    refused, special = (NOT_ON_TEXT, ON_TEXT) if search is recurrent else ({}, {})
    for seed, key in enumerate(key for key in REMEDIES if key not in ALONE and key not in refused):
        for lane in (seed, seed + 100):
            plain = changes(key, lane, **special.get(key, {})) | {"momentum": 0.9}  # without it no buffer is kept alone
            settings = search(ESTIMATOR, plain).settings
            if lane == seed or any(json.loads(structure(settings))[key] for key in ("supernet", "passes")):
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


ASKING: dict[str, list[dict[str, Any]]] = {
    "regularizer:sdarts_adv": [{"moves": 2}, {"moves": 5, "radius_start": 0.2}, {"moves": 3, "radius": 0.0}],
    "regularizer:lambda_alignment": [{"strength": 2.0}, {"strength": 0.0}, {"strength": 0.5}],
    "regularizer:oles": [{"threshold": 0.9}, {"threshold": -0.9}, {"threshold": 0.5}],
}
"""Remedies that ask for passes, with the numbers of three lanes: they ask for other numbers of passes, or for none."""


@pytest.mark.parametrize(
    ("key", "estimator"), [*((key, ESTIMATOR) for key in ASKING), ("regularizer:oles", {"name": "exact_hvp"})]
)
def test_lanes_that_ask_for_different_passes_equal_the_same_searches_alone(
    key: str, estimator: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused._Lane, "repeat", None)
    lanes = [
        changes(key, seed, **numbers) | {"grad_clip": clip}
        for seed, (numbers, clip) in enumerate(zip(ASKING[key], (5.0, 0.0, 0.1), strict=True))
    ]
    together = [search(estimator, plain, limit=64) for plain in lanes]
    group = FusedSearch()
    rows = [group.run_epoch(together) for _ in range(2)]
    frozen = [each.objective.frozen for each in together]
    for number, plain in enumerate(lanes):
        alone = search(estimator, plain, limit=64)
        for epoch in rows:
            require_equal(epoch[number], alone.run_epoch(), key)
        require_equal(together[number].state_dict(), alone.state_dict(), key)
    if key == "regularizer:oles":
        assert frozen[0]
        assert len(set(frozen)) > 1


@pytest.mark.parametrize("nodes", [1, 2])
def test_eigenvalues_of_lanes_are_computed_together(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    remedies: list[Any] = [{"name": "darts_es", "every": 1}, {"name": "darts_ada", "every": 1}, "drop_path"]
    lanes: list[dict[str, Any]] = [
        {"seed": seed, "regularizers": [remedy], "probes": ["eigenvalue"] if seed != 1 else []}
        for seed, remedy in enumerate(remedies[:2])
    ]
    lanes.append({"seed": 2, "regularizers": [remedies[0]], "probes": [{"name": "eigenvalue", "every": 2}]})
    lanes = [{**lane, "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": nodes}} for lane in lanes]
    alone = [search("first_order", plain) for plain in lanes]
    expected = [[each.run_epoch() for _ in range(2)] for each in alone]
    together = [search("first_order", plain) for plain in lanes]

    def never(*arguments: object) -> float:
        raise AssertionError("a lane computed its own eigenvalue")

    monkeypatch.setattr("raydarts.search.measuring.dominant_eigenvalue", never)
    monkeypatch.setattr(fused._Lane, "repeat", None)
    group = FusedSearch()
    for epoch in range(2):
        for lane, row in enumerate(group.run_epoch(together)):
            require_equal(row, expected[lane][epoch])
    assert expected[0][1]["eigenvalue"] is not None
    for lane, each in enumerate(alone):
        require_equal(together[lane].state_dict(), each.state_dict(), tolerance=1e-9)


def test_a_lane_of_a_remedy_from_outside_gets_its_weights_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A remedy need not know of passes: `watch` and `weight_gradient` act on each lane by its weights of this step."""
    norms: dict[float, list[float]] = defaultdict(list)

    class Mine(members("regularizer")["weight_l2"]):  # type: ignore[misc]
        NAME = "mine"
        LANES = True

        def watch(self, gradients: Any, step: Any) -> None:
            norms[self.settings.factor].append(sum(float(gradient.square().sum()) for gradient in gradients))

        def weight_gradient(self, weights: Any, step: Any) -> Any:
            return [self.settings.factor * 0.1 * weight.detach() for weight in weights]

    monkeypatch.setattr("raydarts.registry.resolve", lambda family, name: _resolve(family, name, Mine))
    lanes = [{"seed": seed, "regularizers": [{"name": "mine:Mine", "factor": seed + 2}]} for seed in range(3)]
    together = [search(ESTIMATOR, plain) for plain in lanes]
    FusedSearch().run_epoch(together)
    fused_norms = {factor: list(values) for factor, values in norms.items()}
    norms.clear()
    for number, plain in enumerate(lanes):
        alone = search(ESTIMATOR, plain)
        alone.run_epoch()
        require_equal(together[number].state_dict(), alone.state_dict())
    for factor, values in norms.items():
        assert fused_norms[factor] == pytest.approx(values, rel=1e-12)


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
        {"batch_size": 4},
        {"precision": "float32"},
        {"estimator": "first_order"},
        {"estimator": {"name": "finite_difference", "xi": 0}},
        {"space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 2}},
        {"regularizers": [{"name": "partial_channels", "k": 2}]},
    ]
    assert len({of(), *(of(**other) for other in others)}) == len(others) + 1


def test_seeds_that_cut_a_text_into_other_lengths_have_one_structure() -> None:
    def of(seed: int, **text: Any) -> str:
        return structure(SearchSettings.model_validate({"seed": seed, "space": "darts-rnn", "text": text}))

    assert of(1, bptt_deviation=5) == of(2, bptt_deviation=5) != of(1, bptt_deviation=4)
