"""One epoch on: the metrics row first, then the checkpoint, so that a checkpoint never claims a missing row."""

from __future__ import annotations

import itertools
import logging
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raydarts.errors import CheckpointError
from raydarts.execution import forking
from raydarts.execution.job import Job
from raydarts.json_types import number, section
from raydarts.runs.checkpoints import CheckpointStore, Refused, named, short
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.folders import run_of
from raydarts.runs.identity import differences, identity
from raydarts.runs.segments import lineage, lineage_in_words, newest_folder, segments_of
from raydarts.storage.files import plain
from raydarts.storage.place import FilePlace
from raydarts.study.history import Parent
from raydarts.study.results import NOT_SCALAR, TrialEntry

logger = logging.getLogger("raydarts")

Describe = Callable[[Mapping[str, object]], Mapping[str, object]]
"""Says of a genotype what is kept beside it: `genotype_id` and `skips`."""


def _store(trial: TrialDirectory) -> CheckpointStore:
    return CheckpointStore(newest_folder(trial), identity(trial), guard=trial.check)


def open_job(build: Callable[[], Job], trial: TrialDirectory) -> Job:
    """The trial's job, taken up from its newest checkpoint that can be used, or not begun.

    A checkpoint is used where its bytes are whole, the job that made it is this one (`identity`), and this job's
    state is then the checkpoint's to the last bit. Any other is refused with its name and the reason, and the next
    older one is tried, by a job that `build` makes anew where the refused one had already touched it. Refused
    files are renamed to `*.refused`, never deleted. Rows of epochs after the one used are dropped: those are run
    again.

    Where none can be used the job begins anew, which costs computing time and no result, since equal seeds give
    equal bits. But where rows are there and a refused checkpoint is whole (made by another spec or version, put
    there by hand), beginning anew would throw away rows and work that may still be of use: then nothing on disk is
    touched, and `CheckpointError` names each file.

    A trial that was forked has a folder of checkpoints for each segment. Where none of the last segment can be used it
    begins with the other trial's, under its own settings.
    """
    trial.goes_on()
    store = _store(trial)
    store.tidy()
    parent = segments_of(trial.description())[-1].parent
    refused: dict[FilePlace, Refused] = {}
    job: Job | None = None
    for path in store.files():
        if parent is not None and store.epoch(path) <= parent.epoch:
            continue  # the other trial's
        try:
            state = store.read(path)
            job = build() if job is None else job
            _take_up(job, store.epoch(path), state)
        except Refused as reason:
            refused[path] = Refused(str(reason), damaged=reason.damaged)  # a traceback would keep the job alive
            if not isinstance(reason, _HalfLoaded):
                continue
            job = None  # let go before another is built: two may not fit in memory
        else:
            return _go_on(job, trial, refused, store)
    if parent is not None:
        job = None
        return _go_on(_begin_as_fork(build, trial, parent), trial, refused, store)
    if any(not reason.damaged for reason in refused.values()) and trial.rows():
        listed = "; ".join(f"{path}: {reason}" for path, reason in refused.items())
        raise CheckpointError(
            f"no checkpoint can be used, though {len(trial.rows())} epochs were run: {listed}. Put back the spec or "
            f"version that made them, or move {trial.checkpoints} away to begin anew"
        )
    return _go_on(build() if job is None else job, trial, refused, store)


def _begin_as_fork(build: Callable[[], Job], trial: TrialDirectory, parent: Parent) -> Job:
    """The job of a segment of which no epoch was kept: with the other trial's state, to the last bit.

    Raises `CheckpointError` where that cannot be used. There is nothing else to begin with.
    """
    try:
        job, state = forking.begin(build, trial, parent)
        _take_up(job, parent.epoch, state)
    except Refused as reason:
        raise CheckpointError(
            f"{trial.id} cannot go on from trial {parent.trial} after epoch {parent.epoch}: its checkpoint {reason}"
        ) from reason
    return job


def follow_job(build: Callable[[], Job], trial: TrialDirectory, epoch: int) -> Job:
    """The job as another process has opened it, at `epoch`, from the checkpoint that was found good there."""
    job = build()
    if epoch:
        store = _store(trial)
        job.load_state_dict(store.read(next(path for path in store.files() if store.epoch(path) == epoch)))
    return job


class _HalfLoaded(Refused):
    """Refused after the job had begun to take it up."""


def _take_up(job: Job, epoch: int, state: dict[str, object]) -> None:
    """Load the state, and make sure that the job now has exactly that. Raises `_HalfLoaded`."""
    import torch  # noqa: PLC0415 - reading results needs no torch

    try:
        job.load_state_dict(state)
        places = list(itertools.islice(differences(state, job.state_dict()), 4))
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise  # no fault of the checkpoint's
    except Exception as error:  # a state may be wrong in any way
        raise _HalfLoaded(f"does not fit this job ({short(error)})") from error
    if places:
        raise _HalfLoaded(f"does not fit this job, which would differ from it in {named(places)}")
    if job.epoch != epoch:
        raise _HalfLoaded(f"named epoch {epoch}, but holds epoch {job.epoch}")


def _go_on(job: Job, trial: TrialDirectory, refused: Mapping[FilePlace, Refused], store: CheckpointStore) -> Job:
    for path, reason in refused.items():
        logger.warning("%s: refused: %s; going on from epoch %d", path, reason, job.epoch)
        store.set_aside(path)
    trial.keep_rows(job.epoch)
    return job


@dataclass(frozen=True)
class Ran:
    """An epoch that a job has run: its metrics, and when it began and ended, in seconds since 1970.

    `lanes`: how many trials the process ran together in this time.
    """

    metrics: Mapping[str, object]
    started: float
    ended: float
    lanes: int = 1


def ran(job: Job) -> Ran:
    """Run one epoch."""
    started = time.time()
    return Ran(job.run_epoch(), started, time.time())


def keep(job: Job, trial: TrialDirectory, ran: Ran, checkpoint_every: int = 1) -> dict[str, object]:
    """Keep an epoch that the job has just run. Returns the metrics row."""
    row: dict[str, object] = dict(plain(ran.metrics))
    if (segment := len(segments_of(trial.description())) - 1) > 0:
        row["segment"] = segment
    trial.append_row(row)
    trial.append_time(timed(job, row, ran))
    if job.finished or job.epoch % checkpoint_every == 0:
        _store(trial).save(job.epoch, job.state_dict())
    return row


def timed(job: Job, row: Mapping[str, object], ran: Ran) -> dict[str, object]:
    """When and where an epoch ran: a line of times.jsonl."""
    entry = {"epoch": row.get("epoch"), "start": ran.started, "end": ran.ended, "of": job.epochs}
    together = {"lanes": ran.lanes} if ran.lanes > 1 else {}
    return {**entry, "host": platform.node(), "pid": os.getpid(), **together}


def finish(job: Job, trial: TrialDirectory, describe: Describe | None = None) -> dict[str, object]:
    """Write the finished job's result.json, status completed."""
    rows = trial.rows()
    outcome = dict(plain(job.result()))
    metrics = rows[-1] if rows else {}
    genotype = section(outcome.get("genotype") or metrics.get("genotype")) or None
    return _write(
        trial, "completed", job.epoch, metrics, genotype=genotype, describe=describe, more={"result": outcome}
    )


def stop(trial: TrialDirectory, describe: Describe | None = None, reason: str | None = None) -> dict[str, object]:
    """Write the result.json of a trial that was stopped early: by a scheduler, or by a rule for this reason."""
    rows = trial.rows()
    metrics = rows[-1] if rows else {}
    genotype = section(metrics.get("genotype")) or None
    more = {} if reason is None else {"reason": reason}
    return _write(trial, "stopped", len(rows), metrics, genotype=genotype, describe=describe, more=more)


def fail(trial: TrialDirectory, error: BaseException | str) -> dict[str, object]:
    """Write the result.json of a trial that failed."""
    rows = trial.rows()
    details: dict[str, object] = {"error": error if isinstance(error, str) else f"{type(error).__name__}: {error}"}
    if isinstance(error, BaseException):
        details["traceback"] = "".join(traceback.format_exception(error))
    return _write(trial, "failed", len(rows), rows[-1] if rows else {}, more=details)


def _write(
    trial: TrialDirectory,
    status: str,
    epochs: int,
    metrics: Mapping[str, object],
    *,
    genotype: Mapping[str, object] | None = None,
    describe: Describe | None = None,
    more: Mapping[str, object],
) -> dict[str, object]:
    seconds = [value for row in trial.rows() if (value := number(row.get("seconds"))) is not None]
    result: dict[str, object] = {
        "status": status,
        "epochs": epochs,
        "metrics": {key: value for key, value in metrics.items() if key not in NOT_SCALAR},
        "genotype": genotype,
        "seconds": sum(seconds) if seconds else None,
        **(describe(genotype) if describe is not None and genotype else {}),
        **more,
    }

    def described_as(name: str) -> TrialEntry:
        return trial.description() if name == trial.id else run_of(trial).trial(int(name)).description()

    if parts := lineage(trial.id, epochs, described_as):
        result["lineage"] = lineage_in_words(parts)
    trial.write_result(result)
    return result
