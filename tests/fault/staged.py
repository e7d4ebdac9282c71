"""A sweep in stages that trains nothing: the supernet prefers skip connections, retraining prefers their absence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raydarts.config.loader import LoadedSpec
from raydarts.study.stages import section_of
from tests.fault.fakes import FakeJob, loaded, script_of

BUILDER = "tests.fault.staged:build"
SEARCH = {"epochs": 4, "batch_size": {"randint": [2, 7]}}
"""Each search has from 0 to 5 skip connections: its batch size less 2."""


def staged(pause: float = 0.0, **more: Any) -> LoadedSpec:
    """Random search over the numbers of skips, one trial at a time, then the stages asked for.

    `pause`: seconds that an epoch of a retraining takes.
    """
    searcher = more.pop("searcher", {"name": "random", "trials": 8})
    base = {**more.pop("base", {}), "pause": pause}
    more.setdefault("objective", "validation_accuracy")
    return loaded(searcher, search=SEARCH, max_concurrent=1, base=base, **more)


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> FakeJob:
    script = script_of(run)["all"]
    if trial["kind"] == "search":
        skips = trial["config"]["batch_size"] - 2
        settings = {"lr": 0.1 + 0.1 * skips, "skips": skips, "seed": skips, "epochs": trial["config"]["epochs"]}
        return FakeJob({**settings, **script}, "search")
    section = section_of(run["spec"], trial.get("stage", "evaluate"))
    skips = sum(edge[0] == "skip_connect" for edge in trial["genotype"]["normal"])
    settings = {"lr": 0.9 - 0.1 * skips, "seed": trial["seed"], "epochs": section["training"]["epochs"]}
    return FakeJob({**settings, "sleep": script["pause"]}, "evaluation")
