"""`raydarts logs RUN ID`: what a trial's process logged and printed, and what is added while the trial runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from raydarts.errors import InputError
from raydarts.registry import nearest
from raydarts.runs.directory import FINAL, RunDirectory, TrialDirectory
from raydarts.runs.folders import jobs, stage_of
from raydarts.runs.log import read_log
from raydarts.runs.reading import Damage
from raydarts.storage.place import Place
from raydarts.study.stages import SEARCH

_SHOWN = 12
_EVERY = 1.0
"""Seconds between two looks at a log that is followed."""


def job_named(run: RunDirectory, name: str) -> TrialDirectory:
    """The trial or retraining of this id. `7` is trial 0007; `STAGE/ID` names one of several stages.

    Raises `InputError` where there is none, or where stages have several.
    """
    everything = jobs(run)
    if not everything:
        raise InputError(f"{run.path}: has no trial yet")
    wanted = f"{int(name):04d}" if name.isdecimal() and name.isascii() else name
    named = [trial for trial in everything if wanted in (trial.id, f"{stage_of(trial)}/{trial.id}")]
    if len(named) == 1:
        return named[0]
    if named:
        places = ", ".join(f"{stage_of(trial)}/{trial.id}" for trial in named)
        raise InputError(f"{run.path}: several stages have {name}; write one of: {places}")
    ids = [
        trial.id if stage_of(trial) in (SEARCH, "evaluate") else f"{stage_of(trial)}/{trial.id}" for trial in everything
    ]
    more = f", ... ({len(ids)} in all)" if len(ids) > _SHOWN else ""
    raise InputError(
        f"{run.path}: has no trial {name}{nearest(name, ids)} (there: {', '.join(ids[:_SHOWN])}{more}); retrainings "
        "are named GENOTYPE-seedN, or STAGE/GENOTYPE-seedN"
    )


def log_lines(
    place: Place, name: str, follow: bool = False, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Yields the lines of a job's log. With `follow` it goes on until the job has its result or nobody runs it."""
    run = RunDirectory.open(place, Damage())
    trial = job_named(run, name)
    seen = ""
    while True:
        ended = (trial.result() or {}).get("status") in FINAL or not run.in_use()
        text = read_log(trial)
        if not text.startswith(seen):
            yield "[the log was shortened]"
            kept = text.find(seen[-200:]) if seen else -1
            seen = text[: kept + len(seen[-200:])] if kept >= 0 else ""
        end = len(text) if ended or not follow else text.rfind("\n") + 1
        yield from text[len(seen) : end].splitlines()
        seen = text[:end]
        if not follow or ended:
            break
        sleep(_EVERY)
    if not seen:
        yield from _without_log(trial)


def _without_log(trial: TrialDirectory) -> Iterator[str]:
    """What is known of a job that wrote no log."""
    result = trial.result() or {}
    if error := result.get("error"):
        yield f"{trial.id} wrote no log; it failed: {error}"
        yield from str(result.get("traceback") or "").splitlines()
    elif result or trial.owner() is not None:
        yield f"{trial.id}: its process logged and printed nothing"
    else:
        yield f"{trial.id}: has not begun"
