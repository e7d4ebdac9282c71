"""Schedulers: which trials stop early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raydarts.registry import Member


@dataclass(frozen=True)
class Horizon:
    """What a scheduler must know of the sweep: its metric, and the most epochs any trial runs."""

    metric: str
    mode: str
    epochs: int
    seed: int


class Scheduler(Member):
    """Builds one of Ray Tune's schedulers. Its time attribute is `epoch`."""

    def build(self, horizon: Horizon) -> Any:
        """A `ray.tune.schedulers.TrialScheduler`. Trials are known by `config["id"]` over restarts."""
        raise NotImplementedError


@dataclass
class RecordedTrial:
    """Stands in for a Tune trial while its recorded rows are shown to a scheduler again."""

    trial_id: str
    config: Mapping[str, Any]


def replay(scheduler: Any, recorded: Iterable[tuple[str, list[Mapping[str, Any]]]]) -> None:
    """Show a new scheduler the rows of an earlier driver's trials, epoch by epoch, so that it knows its rungs again."""
    trials = [(RecordedTrial(name, {"id": name}), rows) for name, rows in recorded]
    for trial, _ in trials:
        scheduler.on_trial_add(None, trial)
    for trial, rows in trials:
        for row in rows:
            scheduler.on_trial_result(None, trial, {key: value for key, value in row.items() if value is not None})
