"""Which trials of a search share a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raydarts.config.fusing import lanes_of
from raydarts.config.loader import LoadedSpec
from raydarts.execution.jobs import DEFAULT_BUILDER
from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.search import fused
from raydarts.search.settings import SearchSettings


@dataclass(frozen=True)
class Fusing:
    """`lanes`: how many trials share a process at most. `most`: how many run at a time at most, in all processes; None:
    no limit. `kind`: trials with the same answer can share a process; None: a trial runs alone. `ahead`: how many
    trials may wait while others of one kind are looked for.
    """

    run: RunDirectory
    lanes: int
    most: int | None
    ahead: int
    kind: Callable[[TrialDirectory], str | None]

    def __str__(self) -> str:
        return f"fused: up to {self.lanes} trials of like structure share a process"


def fusing_of(run: RunDirectory, loaded: LoadedSpec, trials: int, places: int) -> Fusing | None:
    """How the `trials` of a search are fused that run in `places` processes. None: each has a process of its own.

    `trials` are all of the search, also those that have ended. So a run that goes on has groups of the size that it
    began with, and its figures are rounded alike.

    Runs of earlier versions name no `fuse`, and go on as they began.
    """
    description = run.description()
    if description["builder"] not in (None, DEFAULT_BUILDER) or "fuse" not in section(description["spec"].get("sweep")):
        return None
    sweep = loaded.sweep
    lanes = lanes_of(loaded, trials, places)
    if lanes == 1:
        return None

    def kind(trial: TrialDirectory) -> str | None:
        settings = SearchSettings.model_validate(trial.description()["config"])
        return None if fused.unfusable(settings) else fused.structure(settings)

    model_based = bool(getattr(sweep.searcher.member, "MODEL_BASED", False))
    return Fusing(run, lanes, sweep.max_concurrent, lanes if model_based else trials, kind)
