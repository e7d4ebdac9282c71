"""The folder of a local Ray: its sockets, logs and spilled objects. It is this user's alone, and ends with the sweep.

Ray's own choice, `$TMPDIR/ray`, stays for ever, and fails where TMPDIR is long (Slurm), missing or full.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from raydarts.errors import ClusterError

LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes of a socket's path: the operating system's limit."""
_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest that Ray lays below the folder; 4194304 is the largest process id."""
_PREFIX, _LOCK = "rd", "raydarts-driver"
_RANDOM = 8  # letters that mkdtemp adds
_LEAST_FREE = 64 << 20
_TRIED = 1 << 20  # bytes written to see that the disk, or the user's quota, takes some


@dataclass
class Folder:
    """`note`: where it lies elsewhere than the user asked for, one line that says so."""

    path: Path
    lock: IO[str]
    note: str | None = None

    def remove(self) -> None:
        """Processes that are just ending may still write into it, so that one try may not be enough."""
        for _ in range(3):
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
        self.lock.close()


def make_folder() -> Folder:
    """A new folder below the first usable of RAY_TMPDIR, TMPDIR, /tmp, /var/tmp, XDG_RUNTIME_DIR.

    Raises `ClusterError` where none is usable, with the reason for each.
    """
    problems: list[str] = []
    for name, base in _bases():
        try:
            folder = _make_below(base)
        except OSError as error:
            problems.append(f"{name}: {error.strerror or error}")
            continue
        _remove_abandoned(base)
        if problems:
            folder.note = f"{'; '.join(problems)}. Ray's files are in {folder.path} instead"
        return folder
    raise ClusterError(
        "there is no folder for the sockets and logs of a local Ray: "
        f"{'; '.join(problems)}. Set RAY_TMPDIR to a folder with a short path that can be written"
    )


def _bases() -> list[tuple[str, Path]]:
    asked = [
        (f"{name}={os.environ[name]}", os.environ[name]) for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)
    ]
    places = [*asked, ("/tmp", "/tmp"), ("/var/tmp", "/var/tmp")]  # noqa: S108 - made below them with mode 0700
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append((f"XDG_RUNTIME_DIR={runtime}", runtime))
    bases = {Path(place).absolute(): name for name, place in reversed(places)}  # of the same place the first name stays
    return [(name, base) for base, name in reversed(bases.items())]


def _make_below(base: Path) -> Folder:
    """Raises `OSError` that says in words why `base` cannot be used."""
    room = LONGEST_SOCKET - len(f"/{_PREFIX}") - _RANDOM - len(_SOCKET)
    if len(os.fsencode(base)) > room:
        raise OSError(f"too long for the sockets of Ray: at most {room} bytes")
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))  # mode 0700
    try:
        _try_out(path)
        lock = (path / f".{_LOCK}").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        (path / f".{_LOCK}").rename(path / _LOCK)  # seen by others only when it is held
    except OSError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return Folder(path, lock)


def _try_out(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < _LEAST_FREE:
        raise OSError(f"the disk has {free >> 20} MiB left, and Ray needs {_LEAST_FREE >> 20}")
    tried = path / "tried"
    with tried.open("wb", buffering=0) as file:
        file.write(bytes(_TRIED))
    tried.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        try:
            made.bind(str(tried))
        except OSError as error:
            raise OSError(f"the file system takes no sockets ({error.strerror or error})") from error
    tried.unlink()


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of drivers that were killed: those of this user whose lock nobody holds."""
    for path in base.glob(f"{_PREFIX}{'?' * _RANDOM}/{_LOCK}"):
        try:
            if path.is_symlink() or path.stat().st_uid != os.geteuid() or path.parent.stat().st_uid != os.geteuid():
                continue
            with path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:  # held by a driver that runs, or removed by another one now
            continue
