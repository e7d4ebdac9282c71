"""A sweep in stages that trains nothing: the supernet prefers skip connections, retraining prefers their absence."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from raydarts.runs.stages import section_of
from tests.fault.fakes import FakeDraw, FakeJob, FakeLoaded, FakeTree, loaded

BUILDER = "tests.fault.staged:build"


class SkipsTree(FakeTree):
    """One search for each number of skip connections from 0 to 5."""

    def materialise(self, chooser: Any) -> FakeDraw:
        space = SimpleNamespace(kind="randint", low=0, high=5, q=None, values=lambda: list(range(6)))
        skips = chooser.choose("search.skips", space)
        plain = {"epochs": 4, **self.base, "lr": 0.1 + 0.1 * skips, "skips": skips, "seed": skips}
        return FakeDraw(plain, {"search.skips": skips})


class StagedLoaded(FakeLoaded):
    """`pause`: seconds that an epoch of a retraining takes."""

    pause = 0.0

    def to_plain(self) -> dict[str, Any]:
        return {**super().to_plain(), "pause": self.pause}


def staged(pause: float = 0.0, **more: Any) -> StagedLoaded:
    """Random search over the numbers of skips, one trial at a time, then the stages asked for."""
    searcher = more.pop("searcher", {"name": "random", "trials": 8})
    base = more.pop("base", {})
    made = loaded(searcher, max_concurrent=1, **more)
    found = StagedLoaded(made.sweep, made.stages, SkipsTree(base))
    found.pause = pause
    return found


def build(trial: Mapping[str, Any], run: Mapping[str, Any], device: str) -> FakeJob:
    if trial["kind"] == "search":
        return FakeJob(trial["config"], "search")
    section = section_of(run["spec"], trial.get("stage", "evaluate"))
    skips = sum(edge[0] == "skip_connect" for edge in trial["genotype"]["normal"])
    settings = {"lr": 0.9 - 0.1 * skips, "seed": trial["seed"], "epochs": section["training"]["epochs"]}
    return FakeJob({**settings, "sleep": run["spec"]["pause"]}, "evaluation")
