"""How long a stage still takes: one rule for the live display, which saw its trials, and for a run's files."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from statistics import fmean
from typing import TypedDict

from raydarts.runs.directory import FINAL, RunDirectory, TrialDirectory
from raydarts.runs.folders import read_promotion, retrainings
from raydarts.runs.hours import drivers, planned, seconds_of
from raydarts.study.stages import SEARCH, stages_of


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def seconds_left(durations: Sequence[float], ages: Sequence[float], waiting: int) -> float | None:
    """How long a stage still takes, in seconds, or None while no trial of it has ended.

    A trial is taken to last as long as those that ended (`durations`) did on average. Those that run are of these
    `ages`; each place that they hold takes the next of the `waiting` trials when it is free.
    """
    if not durations:
        return None
    usual = fmean(durations)
    places = [max(usual - age, 0.0) for age in ages] or [0.0]
    heapq.heapify(places)
    for _ in range(waiting):
        heapq.heapreplace(places, places[0] + usual)
    return max(places)


class Left(TypedDict):
    """How many seconds the stage at work still takes. None: not known yet."""

    stage: str
    seconds: float | None


def left(run: RunDirectory, now: float | None = None) -> Left | None:
    """The stage that a run is in, and the `seconds` that it still takes (None: not known yet), from files alone.

    None for a run of a single job, where no driver is at work, or where nothing is known to be left. A trial's time is
    that of its epochs; since its last epoch it has been at work as long as this driver has. `now`: seconds since 1970.
    """
    description = run.description()
    if description["kind"] != "sweep" or not run.in_use():
        return None
    now = time.time() if now is None else now
    begun = max((each["started"] for each in drivers(run).values()), default=now)
    for stage in [SEARCH, *(stage.name for stage in stages_of(description))]:
        trials = run.trials() if stage == SEARCH else retrainings(run, stage)
        ended = [trial for trial in trials if (trial.result() or {}).get("status") in FINAL]
        open_ones = [trial for trial in trials if trial not in ended]
        total = _total(run, stage, len(trials))
        if len(ended) < total:
            running = [trial for trial in open_ones if trial.owner() is not None and trial.halted() is None]
            waiting = max(total - len(ended) - len(running), 0)
            ages = [_age(trial, begun, now) for trial in running]
            return {"stage": stage, "seconds": seconds_left([seconds_of(trial) for trial in ended], ages, waiting)}
    return None


def _total(run: RunDirectory, stage: str, known: int) -> int:
    """How many trials a stage comes to. Retrainings are all there once it is decided who is retrained."""
    if stage != SEARCH and read_promotion(run, stage) is not None:
        return known
    return max(known, planned(run).get(stage, 0))


def _age(trial: TrialDirectory, begun: float, now: float) -> float:
    ends = [float(entry["end"]) for entry in trial.times()]
    return seconds_of(trial) + max(0.0, now - max([begun, *ends]))
