"""What befell a trial from outside, one line each in its failures.jsonl, over all attempts and drivers."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Sequence

from raydarts.runs.directory import TrialDirectory
from raydarts.runs.entries import FaultEntry

LOST, FILES, TIMEOUT = "lost", "files", "timeout"
PREEMPTED, STORAGE, GPU_MEMORY = "preempted", "storage", "gpu_memory"
COUNTED = (LOST, FILES, TIMEOUT)
"""What `max_failures` limits: no machine that its owner took back in order, no outage of the storage, after which a
trial waits, no GPU memory, which has retries of its own."""
WORDS = {
    LOST: "its process, node or a worker of several was lost",
    FILES: "files could not be read or written",
    TIMEOUT: "no new epoch within epoch_timeout",
    PREEMPTED: "its machine was taken back",
    STORAGE: "the storage was away or full",
    GPU_MEMORY: "the GPU's memory was full",
}


def note(trial: TrialDirectory, what: str, message: str, **more: object) -> None:
    """Add a line: `what`, `message`, `at` (seconds since 1970), `host`, `epochs` reported by then, `attempt` from 1.

    `host` and `token` are those of the attempt that claimed the trial last.
    """
    owner = trial.owner()
    entry = {
        "what": what,
        "at": time.time(),
        "host": platform.node() if owner is None else owner.get("host", platform.node()),
        "epochs": len(trial.rows()),
        "attempt": len(trial.failures()) + 1,
        "token": None if owner is None else owner["token"],
        "message": message,
        **more,
    }
    trial.append_failure(entry)


def note_timeout(trial: TrialDirectory, limit: float) -> None:
    """Note that an epoch took more than `limit` seconds."""
    note(trial, TIMEOUT, f"no new epoch for {limit:g} s")


def of_this_attempt(trial: TrialDirectory, what: str) -> FaultEntry | None:
    """The newest line, where it is about the attempt that claimed the trial last, and about `what`."""
    entries = trial.failures()
    owner = trial.owner()
    if not entries or owner is None or entries[-1]["what"] != what or entries[-1].get("token") != owner["token"]:
        return None
    return entries[-1]


def too_many(trial: TrialDirectory, most: int) -> str | None:
    """Why a trial that was hit more often than `most` times is given up, by name; None: it may be tried again."""
    counted = [entry for entry in trial.failures() if entry["what"] in COUNTED]
    return given_up(counted, most) if len(counted) > most else None


def given_up(entries: Sequence[FaultEntry], most: int) -> str:
    """The error of a trial that failed for these faults."""
    times = Counter(entry["what"] for entry in entries)
    counts = ", ".join(f"{WORDS[what]} ({count} x)" for what, count in times.items())
    last = f"; the last: {entries[-1]['message']}" if entries else ""
    return f"failed more often than max_failures ({most}) allows: {counts or 'it could not be started'}{last}"


def shares(trial: TrialDirectory) -> list[tuple[float, float]]:
    """Since when (seconds since 1970) a trial was given which larger share of a GPU, in the order of time."""
    return [
        (float(entry["at"]), float(larger))
        for entry in trial.failures()
        if entry["what"] == GPU_MEMORY and (larger := entry.get("next_gpus")) is not None
    ]
