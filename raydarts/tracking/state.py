"""What tracking remembers on disk: of each trial in tracking.json, of an outage in the run's wandb-outage.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.reading import read_record
from raydarts.storage.files import write_json
from raydarts.storage.place import delete

logger = logging.getLogger("raydarts")
RUNNING, SENT, OFFLINE, UNSENT = "running", "sent", "offline", "unsent"
"""`sent`: W&B took everything; `offline`: files for `raydarts wandb sync`; `unsent`: there is not even a file."""
RETRY_AFTER = 600.0
"""Seconds for which nobody tries W&B again after it failed."""
_TRIAL, _OUTAGE, _SWEEP = "tracking.json", "wandb-outage.json", "wandb-sweep.json"


def write_trial(trial: TrialDirectory, value: Mapping[str, Any]) -> None:
    """Raises `SupersededError` where a newer attempt has the trial."""
    check(trial)
    write_json(trial.files / _TRIAL, value)


def check(trial: TrialDirectory) -> None:
    """Raise `SupersededError` where a newer attempt runs the trial. One that has its result is run by nobody."""
    if trial.result() is None:
        trial.check()


def read_trial(trial: TrialDirectory) -> dict[str, Any]:
    return _read(trial.files / _TRIAL)


def note_outage(run: RunDirectory, reason: str) -> None:
    run.write(_OUTAGE, {"reason": reason, "since": time.time()})


def outage(run: RunDirectory) -> str | None:
    """Why W&B is not tried now, or None."""
    found = _read(run.files / _OUTAGE)
    since = found.get("since")
    recent = isinstance(since, int | float) and 0 <= time.time() - since < RETRY_AFTER
    return str(found.get("reason")) if recent else None


def end_outage(run: RunDirectory) -> None:
    delete(run.files / _OUTAGE)


def write_sweep(run: RunDirectory, sweep_id: str, *, created: bool, **place: str | None) -> None:
    """`created`: W&B knows the sweep; else it is a name until `raydarts wandb sync` makes it one."""
    run.write(_SWEEP, {"id": sweep_id, "created": created, **place})


def read_sweep(run: RunDirectory) -> dict[str, Any]:
    return _read(run.files / _SWEEP)


def _read(path: Any) -> dict[str, Any]:
    try:
        found = read_record(path)
    except DamagedError as error:  # as if it were not there: W&B says itself what it has
        logger.warning("%s", error)
        found = None
    return dict(found) if isinstance(found, Mapping) else {}
