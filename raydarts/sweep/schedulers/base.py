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

    @property
    def draws(self) -> bool:
        """Whether it draws at random, by the seed of its `Horizon`."""
        return False

    def build(self, horizon: Horizon) -> Any:
        """A `ray.tune.schedulers.TrialScheduler`. Trials are known by `config["id"]` over restarts."""
        raise NotImplementedError


@dataclass
class RecordedTrial:
    """Stands in for a Tune trial while its recorded rows are shown to a scheduler again."""

    trial_id: str
    config: Mapping[str, Any]


def replay(scheduler: Any, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Show a new scheduler an earlier driver's rows in their order, so that it knows its rungs again.

    Returns what it decides at each trial's last row.
    """
    trials: dict[str, RecordedTrial] = {}
    decisions: dict[str, str] = {}
    for name, row in rows:
        if name not in trials:
            trials[name] = RecordedTrial(name, {"id": name})
            scheduler.on_trial_add(None, trials[name])
        shown = {key: value for key, value in row.items() if value is not None}
        decisions[name] = scheduler.on_trial_result(None, trials[name], shown)
    return decisions
