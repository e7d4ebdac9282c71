"""Where a run lies: a folder on a disk (local, or NFS), or a prefix in an object store, under one set of words.

On a disk a place is a `pathlib.Path`; in an object store an `ObjectPlace`, which has those of Path's words that runs
use. What the two do differently (writing whole, appending, listing, waiting for a storage that is away) is here.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from raydarts.errors import InputError
from raydarts.runs.objects import SCHEMES, Entry, ObjectPlace
from raydarts.runs.patience import patiently

Place = Path | ObjectPlace
T = TypeVar("T")
R = TypeVar("R")
_URI = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):/(/?)")
_THREADS = 32


def place_of(text: str | Place) -> Place:
    """The place that a path or URI names.

    Raises `InputError` where it is a URI of another kind, malformed, or holds a user or password.
    """
    if isinstance(text, ObjectPlace):
        return text
    match = _URI.match(str(text))
    if match is None:
        return Path(text)
    scheme = match[1]
    if not match[2]:
        raise InputError(f"{text}: a URI needs two slashes after its scheme: {scheme}://BUCKET/PREFIX")
    if scheme not in SCHEMES:
        raise InputError(
            f"{scheme}://: no storage raydarts can use; give a path (local, or NFS that every node mounts at the same "
            "place), s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
        )
    return ObjectPlace.parse(str(text))


def local_path(text: str | Path) -> Path:
    """A path on this machine's disks; `InputError` where it is a URI."""
    if _URI.match(str(text)):
        raise InputError(f"{text}: must be a file on this machine")
    return Path(text)


def write_bytes(place: Place, content: bytes) -> None:
    """All of it or nothing: on a disk under a temporary name beside `place`, which then takes its place."""
    if isinstance(place, ObjectPlace):
        place.write_bytes(content)
    else:
        patiently(lambda: _write_file(place, content), place)


def _write_file(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(place: Place) -> bytes:
    """Raises `FileNotFoundError`."""
    return place.read_bytes() if isinstance(place, ObjectPlace) else patiently(place.read_bytes, place)


def append(place: Place, line: bytes) -> None:
    """Append one line, which ends with a line feed; a torn line left by a kill or a full disk is closed off first."""
    if isinstance(place, ObjectPlace):
        place.append(line)
        return
    attempts = iter([False])
    patiently(lambda: _append_file(place, line, again=next(attempts, True)), place)


def _append_file(path: Path, line: bytes, *, again: bool) -> None:
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(line)))
        end = file.read()
        if not (again and end == line):  # written before, but not known to be on the disk
            whole = line if end.endswith(b"\n") or not size else b"\n" + line
            written = file.write(whole)
            while written < len(whole):  # a disk that is nearly full takes a part; the next write says so
                written += file.write(whole[written:])
        os.fsync(file.fileno())  # a checkpoint that outlives a loss of power must not claim a row that does not


def read_appended(place: Place) -> bytes:
    """All that was appended; empty where nothing was."""
    if isinstance(place, ObjectPlace):
        return place.read_appended()
    try:
        return read_bytes(place)
    except FileNotFoundError:
        return b""


def replace_appended(place: Place, content: bytes) -> None:
    """Put `content` in the place of all that was appended, wholly or not at all."""
    if isinstance(place, ObjectPlace):
        place.replace_appended(content)
    else:
        write_bytes(place, content)


def take_over(folder: Place) -> None:
    """To be called when this process begins to write to a folder that another may have written to."""
    if isinstance(folder, ObjectPlace):
        folder.forget_tails()


def entries(folder: Place) -> list[Entry]:
    """What lies in a folder, by name; nothing where there is no such folder."""
    if isinstance(folder, ObjectPlace):
        return folder.entries()

    def scan() -> list[Entry]:
        found = []
        for path in folder.iterdir() if folder.is_dir() else ():
            try:
                found.append(Entry(path, path.is_dir(), path.stat().st_mtime_ns))
            except FileNotFoundError:
                continue  # gone since
        return sorted(found)

    return patiently(scan, folder)


def exists(place: Place) -> bool:
    return place.exists() if isinstance(place, ObjectPlace) else patiently(place.exists, place)


def delete(place: Place) -> None:
    """Delete a file; nothing where it is not there."""
    if isinstance(place, ObjectPlace):
        place.unlink(missing_ok=True)
    else:
        patiently(lambda: place.unlink(missing_ok=True), place)


def rename(place: Place, name: str) -> None:
    """Give a file another name in its folder."""
    if isinstance(place, ObjectPlace):
        place.rename(place.with_name(name))
    else:
        place.rename(place.with_name(name))


def make_folder(place: Place) -> None:
    if isinstance(place, Path):
        patiently(lambda: place.mkdir(parents=True, exist_ok=True), place)


def publish(draft: Callable[[Place], None], place: Place) -> None:
    """Make a folder that was not there, with what `draft` writes into it.

    On a disk it is seen when it is whole. In an object store `draft` must write last what makes the folder a run.
    """
    if isinstance(place, ObjectPlace):
        draft(place)
        return
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        draft(temporary)
        temporary.rename(place)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def each(work: Callable[[T], R], items: Iterable[T], at: Place) -> list[R]:
    """`work` of each item, in order; many at a time where every look at `at` is a request over the network."""
    if isinstance(at, Path):
        return [work(item) for item in items]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))
