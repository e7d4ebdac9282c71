"""Notes what an executor says of lost attempts in the trial's failures.jsonl, where its own process did not."""

from __future__ import annotations

import logging

from raydarts.cluster import head
from raydarts.errors import StorageError
from raydarts.execution.executor import Loss
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.log import TrialLog

logger = logging.getLogger("raydarts")


def note(trial: TrialDirectory, loss: Loss, workers: int) -> str:
    """Note a lost attempt of a trial with so many workers. Returns what it was; empty: no error is known."""
    what = loss.what
    if not what:
        return what
    if what in (faults.LOST, faults.PREEMPTED):
        head.settle()
    try:
        if workers > 1:
            from raydarts.execution.data_parallel import free_leftover  # noqa: PLC0415 - imports Ray

            free_leftover(trial)
        if what == faults.LOST and faults.of_this_attempt(trial, faults.TIMEOUT) is not None:
            return faults.TIMEOUT
        faults.note(trial, what, loss.message)
        TrialLog(trial).write(f"--- this attempt is lost: {faults.WORDS[what]}: {loss.message}\n")
    except StorageError as error:
        if what != faults.STORAGE:
            raise
        logger.warning("%s: not noted in failures.jsonl either: %s", trial.id, error)
    return what
