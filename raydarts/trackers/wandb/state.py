"""What is remembered on disk: of each trial in tracking.json; of the sweep and of an outage in files of the run."""

from __future__ import annotations

import logging
import time
from typing import TypeVar

from pydantic import TypeAdapter

from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.reading import read_record
from raydarts.runs.record_types import Count, Record, Time
from raydarts.storage.files import write_json
from raydarts.storage.place import FilePlace, delete

logger = logging.getLogger("raydarts")
RUNNING, SENT, OFFLINE, UNSENT = "running", "sent", "offline", "unsent"
"""`sent`: W&B took everything; `offline`: files for `raydarts wandb sync`; `unsent`: there is not even a file."""
RETRY_AFTER = 600.0
"""Seconds for which nobody tries W&B again after it failed."""
_TRIAL, _OUTAGE, _SWEEP = "tracking.json", "wandb-outage.json", "wandb-sweep.json"


class Destination(Record):
    """Where W&B has something."""

    project: str | None = None
    entity: str | None = None


class Tracked(Record):
    """A trial's tracking.json. `place` is absent where the run's own settings hold."""

    state: str | None = None
    reason: str | None = None
    id: str | None = None
    url: str | None = None
    status: str | None = None
    epochs: Count | None = None
    place: Destination | None = None


class Outage(Record):
    reason: str | None = None
    since: Time | None = None


class Sweep(Destination):
    """`created`: W&B knows the sweep; else it is a name until `raydarts wandb sync` makes it one."""

    id: str | None = None
    created: bool = False


_Kept = TypeVar("_Kept", bound=Record)


def write_trial(trial: TrialDirectory, tracked: Tracked) -> None:
    """Raises `SupersededError` where a newer attempt has the trial."""
    check(trial)
    write_json(trial.files / _TRIAL, tracked.model_dump(mode="json", exclude_unset=True))


def check(trial: TrialDirectory) -> None:
    """Raise `SupersededError` where a newer attempt runs the trial. One that has its result is run by nobody."""
    if trial.result() is None:
        trial.check()


def read_trial(trial: TrialDirectory) -> Tracked:
    return _read(trial.files / _TRIAL, Tracked)


def note_outage(run: RunDirectory, reason: str) -> None:
    run.write(_OUTAGE, {"reason": reason, "since": time.time()})


def outage(run: RunDirectory) -> str | None:
    """Why W&B is not tried now, or None."""
    noted = _read(run.files / _OUTAGE, Outage)
    recent = noted.since is not None and 0 <= time.time() - noted.since < RETRY_AFTER
    return str(noted.reason) if recent else None


def end_outage(run: RunDirectory) -> None:
    delete(run.files / _OUTAGE)


def write_sweep(run: RunDirectory, sweep_id: str, *, created: bool, project: str | None, entity: str | None) -> None:
    run.write(_SWEEP, {"id": sweep_id, "created": created, "project": project, "entity": entity})


def read_sweep(run: RunDirectory) -> Sweep:
    return _read(run.files / _SWEEP, Sweep)


def _read(path: FilePlace, kind: type[_Kept]) -> _Kept:
    """What a file holds; nothing where it is absent or damaged, since W&B says itself what it has."""
    try:
        return kind.model_validate(read_record(path, kind=TypeAdapter(kind)) or {})
    except DamagedError as error:
        logger.warning("%s", error)
        return kind()
