"""One epoch on: the metrics row first, then the checkpoint, so that a checkpoint never claims a missing row."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from raydarts.errors import CheckpointError
from raydarts.runs.checkpoints import CheckpointStore
from raydarts.runs.directory import NOT_SCALAR, TrialDirectory
from raydarts.runs.files import plain
from raydarts.runs.job import Job

Describe = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Says of a genotype what is kept beside it: `genotype_id` and `skips`."""


def _store(trial: TrialDirectory) -> CheckpointStore:
    return CheckpointStore(trial.checkpoints, guard=trial.check)


def resume(job: Job, trial: TrialDirectory) -> int:
    """Take up from the newest good checkpoint; returns the epochs already done.

    Rows of later epochs are dropped: those epochs are run again. Raises `CheckpointError` where a
    good checkpoint belongs to another job.
    """
    found = _store(trial).latest()
    if found is None:
        trial.keep_rows(0)
        return 0
    epoch, state = found
    try:
        job.load_state_dict(state)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{trial.checkpoints}: the checkpoint of epoch {epoch} does not fit this job: {error}; "
            "was the run made with another spec or version?"
        ) from error
    if job.epoch != epoch:
        raise CheckpointError(f"{trial.checkpoints}: named epoch {epoch}, but holds epoch {job.epoch}")
    trial.keep_rows(epoch)
    return epoch


def advance(job: Job, trial: TrialDirectory, checkpoint_every: int = 1) -> dict[str, Any]:
    """Run one epoch and keep it. Returns the metrics row."""
    started = time.time()
    row = dict(plain(job.run_epoch()))
    trial.append_row(row)
    place = {"host": platform.node(), "pid": os.getpid()}
    trial.append_time({"epoch": row.get("epoch"), "start": started, "end": time.time(), **place})
    if job.finished or job.epoch % checkpoint_every == 0:
        _store(trial).save(job.epoch, job.state_dict())
    return row


def finish(job: Job, trial: TrialDirectory, describe: Describe | None = None) -> dict[str, Any]:
    """Write the finished job's result.json, status completed."""
    rows = trial.rows()
    outcome = dict(plain(job.result()))
    metrics = rows[-1] if rows else {}
    genotype = outcome.get("genotype") or metrics.get("genotype")
    return _write(trial, "completed", job.epoch, metrics, genotype=genotype, describe=describe, result=outcome)


def stop(trial: TrialDirectory, describe: Describe | None = None) -> dict[str, Any]:
    """Write the result.json of a trial that a scheduler stopped early."""
    rows = trial.rows()
    metrics = rows[-1] if rows else {}
    return _write(trial, "stopped", len(rows), metrics, genotype=metrics.get("genotype"), describe=describe)


def fail(trial: TrialDirectory, error: BaseException | str) -> dict[str, Any]:
    """Write the result.json of a trial that failed."""
    rows = trial.rows()
    details: dict[str, Any] = {"error": error if isinstance(error, str) else f"{type(error).__name__}: {error}"}
    if isinstance(error, BaseException):
        details["traceback"] = "".join(traceback.format_exception(error))
    return _write(trial, "failed", len(rows), rows[-1] if rows else {}, **details)


def _write(
    trial: TrialDirectory,
    status: str,
    epochs: int,
    metrics: Mapping[str, Any],
    *,
    genotype: Mapping[str, Any] | None = None,
    describe: Describe | None = None,
    **more: Any,
) -> dict[str, Any]:
    seconds = [row["seconds"] for row in trial.rows() if isinstance(row.get("seconds"), int | float)]
    result: dict[str, Any] = {
        "status": status,
        "epochs": epochs,
        "metrics": {key: value for key, value in metrics.items() if key not in NOT_SCALAR},
        "genotype": genotype,
        "seconds": sum(seconds) if seconds else None,
        **(describe(genotype) if describe is not None and genotype else {}),
        **more,
    }
    trial.write_result(result)
    return result
