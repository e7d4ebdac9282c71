"""The strategy of a sweep out of its settings: searcher, scheduler, objective, halt and replicates as one `Study`.

A real sweep and a replay of recorded ones call these functions alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from raydarts.config.distributions import Tree
from raydarts.config.spec import SweepSettings
from raydarts.json_types import whole
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.study.forecast import Cohort
from raydarts.study.history import Event
from raydarts.study.replicates import Replicates
from raydarts.study.study import Outcome, Proposer, Study, ended


def study_of(
    sweep: SweepSettings,
    proposer: Proposer,
    search: Tree | None,
    epochs: int,
    write: Callable[[Event], None],
) -> tuple[Study, bool]:
    """Returns the study, and whether it may pause trials.

    `proposer` proposes configurations, drawn from `search`. `epochs`: the most that any trial runs. `write` keeps an
    event.
    """
    scheduler: Scheduler = sweep.scheduler.build()
    horizon = Horizon(sweep.score, epochs, sweep.seed, search)
    decider, pauses = scheduler.build(horizon), scheduler.PAUSES
    if sweep.replicates is not None:
        meetings = scheduler.meetings(horizon)
        pauses = pauses or bool(meetings)
        proposer = decider = Replicates(proposer, decider, sweep.replicates, meetings)
    averages, rules = scheduler.AVERAGES, sweep.rules()
    return Study(proposer, decider, sweep.score, epochs, write, averages=averages, rules=rules), pauses


def cohorts_of(sweep: SweepSettings, search: Tree | None, epochs: int) -> tuple[Cohort, ...]:
    """What share of trials the scheduler lets go on, by its settings. It decides on configurations: their search seeds
    are trials that stop together.
    """
    scheduler: Scheduler = sweep.scheduler.build()
    cohorts = scheduler.cohorts(Horizon(sweep.score, epochs, sweep.seed, search))
    return tuple(replace(cohort, trials=cohort.trials * sweep.trials_each) for cohort in cohorts)


def forks(sweep: SweepSettings) -> bool:
    """Whether the scheduler may let a trial go on from another one's checkpoint."""
    scheduler: Scheduler = sweep.scheduler.build()
    return scheduler.FORKS


def outcome_of(
    study: Study, name: str, status: str, rows: Sequence[Mapping[str, object]], last: Mapping[str, object] | None = None
) -> Outcome:
    """How a trial ended, as the searcher and the scheduler are told. `last`: what it came to; None: its last row."""
    reports = [
        (whole(row["epoch"]), value)
        for row in rows
        if (value := study.shown(row)) is not None and row.get("epoch") is not None
    ]
    came_to = last if last is not None else rows[-1] if rows else {}
    halted = status == "stopped" and study.history.trials[name].halted
    points = [
        (whole(row["epoch"]), numbers)
        for row in (rows if study.score.several else ())
        if (numbers := study.score.orders(row)) is not None and row.get("epoch") is not None
    ]
    return replace(ended(study.score, status, came_to), reports=reports, halted=halted, points=points)
