"""One driver for each run: `flock` on a disk, a lease in an object store.

The lease: a driver writes its own object into `lock/`, then lists the folder. It continues only if no other driver
there is alive. Stores that list what was written before (S3, Google Cloud Storage) let at most one through, without
conditional writes. The object is written again every `BEAT` seconds. One that is older than `LEASE` seconds by the
store's clock is dead. A driver that could not write it for most of that time stops writing (`StorageError`) before
another may start. A dead driver of this machine is known at once, because no process has its number and start time.
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

import psutil

from raydarts.errors import DamagedError, RunError, StorageError
from raydarts.json_types import number
from raydarts.storage.inside import Inside
from raydarts.storage.objects import Entry, ObjectPlace
from raydarts.storage.place import Place

BEAT, LEASE, MARGIN = 10.0, 60.0, 15.0
"""Seconds between two signs of life, until a driver counts as dead, and by how much earlier it stops."""
_HOLDER = re.compile(rb"(\d+ on [^\n]*\n)?")
Check = Callable[[], None]
"""Raises if the lock was lost."""


def _nothing() -> None:
    """Does nothing. A flock is never lost while its process lives."""


@contextmanager
def hold(folder: Place) -> Iterator[Check]:
    """Holds the run in `folder` until the block or the process ends. Raises `RunError` if another driver holds it."""
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
    """Returns whether a driver holds the run now.

    In an object store it uses this machine's clock, so only displays may rely on it. Raises `DamagedError` if the lock
    is a link or no file. A folder holds leases: it was copied from an object store, and its drivers are there.
    """
    if isinstance(folder, ObjectPlace):
        now = time.time_ns()
        return any(_alive(entry, now) for entry in (folder / "lock").entries())
    place = Inside(folder) / "lock"
    if place.is_dir():
        return False
    try:
        descriptor = place.open(os.O_RDONLY)
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
        if not _HOLDER.fullmatch(os.pread(descriptor, 1000, 0)):  # only a lock may be overwritten
            raise DamagedError(f"{folder / 'lock'}: is no lock of raydarts; remove it, or put it where it belongs")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {platform.node()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class _Lease:
    """This process's object in `lock/`. A thread writes it again and again."""

    def __init__(self, folder: ObjectPlace) -> None:
        self._folder = folder
        self._place = folder / "lock" / uuid.uuid4().hex
        self._content = json.dumps({"pid": os.getpid(), **_machine(), "started": _started(os.getpid())}).encode()
        self._end = threading.Event()
        self._last = 0.0
        self._thread = threading.Thread(target=self._beat, daemon=True, name="raydarts-lease")

    def take(self) -> None:
        """Waits until a possibly dead lease runs out, at most `LEASE` seconds. A lease that is renewed is respected."""
        seen: dict[object, int] = {}
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
            return  # the lease runs out without help

    def _put(self) -> None:
        began = time.monotonic()
        self._place.write_bytes(self._content)
        self._last = began

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                self._put()
            except OSError:
                continue  # `check` raises if it lasts


def _machine() -> dict[str, object]:
    """Returns what identifies a machine, one start of it, and a container on it."""
    namespace = Path("/proc/self/ns/pid")
    inside = os.readlink(namespace) if namespace.exists() else ""  # noqa: PTH115 - it points to no file
    return {"host": platform.node(), "booted": int(psutil.boot_time()), "namespace": inside}


def _started(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


def _holder(entry: Entry) -> dict[str, object]:
    try:
        record = json.loads(entry.place.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    whole = isinstance(record, dict) and isinstance(record.get("pid"), int)
    return record if whole and isinstance(record.get("started"), int | float | None) else {}


def _here(entry: Entry) -> bool:
    """Returns whether it is a process of this machine, so that we can tell whether it is alive."""
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
    pid, known = holder["pid"], number(holder.get("started"))
    started = _started(pid) if isinstance(pid, int) else None
    return started is not None and known is not None and abs(started - known) < 1


def _name(entry: Entry) -> str:
    holder = _holder(entry)
    return f"{holder.get('pid', 'unknown')} on {holder.get('host', 'unknown')}"
