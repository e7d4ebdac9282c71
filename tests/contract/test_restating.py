"""Settings that a member says may change between two epochs: a search takes up another's state under new ones."""

from __future__ import annotations

from typing import Any

import pytest
from remedies import REMEDIES, chosen, search, spec

from raydarts.execution import drive
from raydarts.registry import members
from raydarts.search.model import copied
from raydarts.search.search import Search

pytestmark = pytest.mark.usefixtures("one_thread", "quick_eigenvalue")

OTHER: dict[str, Any] = {
    "ramp": "constant",
    "length": 8,
    "moves": 2,
    "xi": 0.25,
    "threshold": 0.9,
    "tau_start": 5.0,
    "tau_end": 1.0,
    "factor": 2.0,
    "terms": 2,
    "eta": 0.01,
}
"""A value that is no default. Of other settings it is half of the default, or 0.5 where that is 0."""


def changeable(key: str) -> dict[str, Any]:
    family, _, name = key.partition(":")
    settings = members(family)[name].Settings()
    return {each: OTHER[each] if each in OTHER else _other(getattr(settings, each)) for each in settings.may_change()}


def _other(default: Any) -> float:
    return 0.5 if default == 0 else 0.5 * default


KEYS = [
    key
    for key in [*REMEDIES, "relaxation:gumbel", *(f"estimator:{name}" for name in members("estimator"))]
    if changeable(key)
]


def searched(key: str, changes: dict[str, Any]) -> Search:
    family, _, name = key.partition(":")
    if family == "estimator":
        return search({"name": name, **changes}, {})  # type: ignore[arg-type]
    return search("first_order", spec([chosen(key, **changes)], [key]) if key in REMEDIES else {family: {"name": name}})


@pytest.mark.parametrize("key", KEYS)
def test_a_state_is_taken_up_under_settings_that_may_change(key: str) -> None:
    """From the defaults to other values and back, and from where the member does nothing to its defaults."""
    family, _, name = key.partition(":")
    neutral = {k: v for k, v in (members(family)[name].NEUTRAL or {}).items() if k in changeable(key)}
    neutral = neutral if set(neutral) <= set(members(family)[name].Settings(**neutral).may_change()) else {}
    for before, now in ((neutral, {}), (changeable(key), neutral)):
        parent = searched(key, before)
        parent.run_epoch()
        child = searched(key, now)
        state = child.restated(copied(parent.state_dict()), parent.settings.model_dump(mode="json"))
        drive._take_up(child, 1, state)
        child.run_epoch()
        assert child.finished
