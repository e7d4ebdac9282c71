"""One driver to a run: `flock` on a disk, a lease in an object store.

The lease: a driver puts an object of its own into `lock/`, then lists the folder, and goes on only where nobody else's
is alive. Stores that list what was put before (S3, Google Cloud Storage) let at most one through, without conditional
writes. The object is put again every `BEAT` seconds; one older than `LEASE` seconds by the store's own clock is dead.
A driver that could not put it for most of that time stops writing (`StorageError`) before another may begin. A dead
driver of this machine is known at once: no process has its number and start time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from raydarts.errors import DamagedError, RunError, StorageError
from raydarts.storage.inside import Inside
from raydarts.storage.objects import Entry, ObjectPlace
from raydarts.storage.place import Place

BEAT, LEASE, MARGIN = 10.0, 60.0, 15.0
"""Seconds between two signs of life, until one is taken for dead, and by which it stops before that."""
_HOLDER = re.compile(rb"(\d+ on [^\n]*\n)?")
Check = Callable[[], None]
"""Raises where the lock was lost."""


def _nothing() -> None:
    """A flock is never lost while its process lives."""


@contextmanager
def hold(folder: Place) -> Iterator[Check]:
    """Hold the run in `folder`, until the block or the process ends. Raises `RunError` where another holds it."""
    if isinstance(folder, ObjectPlace):
        lease = _Lease(folder)
        lease.take()
        try:
            yield lease.check
        finally:
            lease.release()
    else:
        with _flock(folder):
            yield _nothing


def held(folder: Place) -> bool:
    """Whether a driver holds the run now (in an object store by this machine's clock: only displays rely on it).

    Raises `DamagedError` where the lock is a link or no file.
    """
    if isinstance(folder, ObjectPlace):
        now = time.time_ns()
        return any(_alive(entry, now) for entry in (folder / "lock").entries())
    try:
        descriptor = (Inside(folder) / "lock").open(os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _in_use(folder: Place, holder: str) -> RunError:
    return RunError(f"{folder}: in use by another raydarts (pid {holder}); wait for it or end it first")


@contextmanager
def _flock(folder: Path) -> Iterator[None]:
    descriptor = (Inside(folder) / "lock").open(os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            written = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            holder = "".join(each for each in written if each.isprintable()) or "unknown"
            raise _in_use(folder, holder) from error
        if not _HOLDER.fullmatch(os.pread(descriptor, 1000, 0)):  # what is written over must be a lock
            raise DamagedError(f"{folder / 'lock'}: is no lock of raydarts; remove it, or put it where it belongs")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {platform.node()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class _Lease:
    """This process' object in `lock/`, put again by a thread."""

    def __init__(self, folder: ObjectPlace) -> None:
        self._folder = folder
        self._place = folder / "lock" / uuid.uuid4().hex
        self._content = json.dumps({"pid": os.getpid(), **_machine(), "started": _started(os.getpid())}).encode()
        self._end = threading.Event()
        self._last = 0.0
        self._thread = threading.Thread(target=self._beat, daemon=True, name="raydarts-lease")

    def take(self) -> None:
        """Wait for a lease that may be dead to run out, `LEASE` seconds at most; one that is renewed is refused."""
        seen: dict[Any, int] = {}
        while True:
            self._put()
            others, now = [], 0
            for entry in (self._folder / "lock").entries():
                if entry.place == self._place:
                    now = entry.modified_ns
                else:
                    others.append(entry)
            living = [entry for entry in others if _alive(entry, now)]
            if not living:
                break
            self._place.unlink(missing_ok=True)
            for entry in living:
                if seen.setdefault(entry.place, entry.modified_ns) != entry.modified_ns or _here(entry):
                    raise _in_use(self._folder, _name(entry))
            time.sleep(min(2.0, BEAT / 4))
        for entry in others:
            entry.place.unlink(missing_ok=True)
        self._thread.start()

    def check(self) -> None:
        if time.monotonic() - self._last > LEASE - MARGIN:
            raise StorageError(
                f"{self._folder}: the storage did not take this driver's sign of life for {LEASE - MARGIN:g} s, so "
                "another driver may have taken the run over, and this one stops. Go on with: raydarts resume RUN"
            )

    def release(self) -> None:
        self._end.set()
        self._thread.join()
        try:
            self._place.unlink(missing_ok=True)
        except OSError:
            return  # it runs out by itself

    def _put(self) -> None:
        began = time.monotonic()
        self._place.write_bytes(self._content)
        self._last = began

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self._put()
            except OSError:
                continue  # `check` says so where it lasts


def _machine() -> dict[str, Any]:
    """What tells machines, restarts of one, and containers on one apart."""
    namespace = Path("/proc/self/ns/pid")
    inside = os.readlink(namespace) if namespace.exists() else ""  # noqa: PTH115 - it points to no file
    return {"host": platform.node(), "booted": int(psutil.boot_time()), "namespace": inside}


def _started(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _holder(entry: Entry) -> dict[str, Any]:
    try:
        record = json.loads(entry.place.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    whole = isinstance(record, dict) and isinstance(record.get("pid"), int)
    return record if whole and isinstance(record.get("started"), int | float | None) else {}


def _here(entry: Entry) -> bool:
    """Whether it is a process of this machine, of which is known whether it lives."""
    holder = _holder(entry)
    return {key: holder.get(key) for key in _machine()} == _machine()


def _alive(entry: Entry, now_ns: int) -> bool:
    if now_ns - entry.modified_ns > LEASE * 1e9:
        return False
    holder = _holder(entry)
    if not holder:
        return False  # gone since it was listed
    if not _here(entry):
        return True
    started, known = _started(holder["pid"]), holder.get("started")
    return started is not None and known is not None and abs(started - known) < 1


def _name(entry: Entry) -> str:
    holder = _holder(entry)
    return f"{holder.get('pid', 'unknown')} on {holder.get('host', 'unknown')}"
