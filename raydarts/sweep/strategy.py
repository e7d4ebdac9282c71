"""The strategy of a sweep out of its settings: searcher, scheduler, objective and replicates as one `Study`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raydarts.config.spec import SweepSettings
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.study.replicates import Replicates
from raydarts.study.study import Outcome, Proposer, Study


def study_of(
    sweep: SweepSettings, proposer: Proposer, epochs: int, write: Callable[[Mapping[str, Any]], None]
) -> tuple[Study, bool]:
    """Returns the study, and whether it may pause trials. A real sweep and a replay call this alike.

    `proposer` proposes configurations. `epochs`: the most that any trial runs.
    """
    scheduler: Scheduler = sweep.scheduler.build()
    horizon = Horizon(sweep.metric, sweep.score.mode, epochs, sweep.seed)
    decider, pauses = scheduler.build(horizon), scheduler.PAUSES
    if sweep.replicates is not None:
        meetings = scheduler.meetings(horizon)
        pauses = pauses or bool(meetings)
        proposer = decider = Replicates(proposer, decider, sweep.replicates, meetings)
    return Study(proposer, decider, sweep.score, epochs, write), pauses


def outcome_of(study: Study, name: str, status: str, rows: Sequence[Mapping[str, Any]]) -> Outcome:
    """How a trial ended, as the searcher and the scheduler are told, of the rows that it reported."""
    reports = [(int(row["epoch"]), value) for row in rows if (value := study.score.of(row)) is not None]
    return Outcome(status, study.score.of(rows[-1]) if rows else None, reports)
