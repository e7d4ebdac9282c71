"""Where a run is stored: a folder on a disk (local, or NFS), or a prefix in an object store, with the same functions.

On a disk a place is a `pathlib.Path`. In an object store it is an `ObjectPlace`, which has the methods of Path that
runs use. What is inside a run on a disk is an `Inside`, which follows no link. This module has what differs between
them: writing whole files, appending, listing, waiting for a storage that is away.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from raydarts.errors import InputError
from raydarts.storage.inside import Inside, kind_of
from raydarts.storage.objects import SCHEMES, Digest, Entry, ObjectPlace
from raydarts.storage.patience import patiently

Place = Path | ObjectPlace
"""What a user names: a file, a run, or the folder of runs."""
FilePlace = Place | Inside
"""The same, and places inside a run."""
T = TypeVar("T")
R = TypeVar("R")
_URI = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):/(/?)")
_THREADS = 32


def place_of(text: str | Place) -> Place:
    """Returns the place that a path or URI names.

    Raises `InputError` if it is a URI of another kind, malformed, or holds a user or password.
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
    """Returns a path on this machine's disks. Raises `InputError` for a URI."""
    if _URI.match(str(text)):
        raise InputError(f"{text}: must be a file on this machine")
    return Path(text)


def inside(folder: Place) -> Inside | ObjectPlace:
    """Returns a run's folder, as the way to its files. An object store has no links."""
    return Inside(folder) if isinstance(folder, Path) else folder


def _file(place: FilePlace) -> Inside | ObjectPlace:
    return Inside.of(place) if isinstance(place, Path) else place


def write_bytes(place: FilePlace, content: bytes) -> None:
    """Writes all or nothing. On a disk it writes to a temporary name beside `place`, which then replaces it."""
    _file(place).write_bytes(content)


def read_bytes(place: FilePlace) -> bytes:
    """Returns the content. Raises `FileNotFoundError`, or `DamagedError` if `place` is a link, a folder or a pipe."""
    return _file(place).read_bytes()


def digest(place: FilePlace) -> Digest:
    """Returns SHA-256 and size of a file. Raises as `read_bytes` does."""
    return _file(place).digest()


def append(place: FilePlace, line: bytes) -> None:
    """Appends one line that ends with a line feed. A torn line from a kill or a full disk is ended first."""
    _file(place).append(line)


def read_appended(place: FilePlace) -> bytes:
    """Returns everything appended, or nothing."""
    return _file(place).read_appended()


def replace_appended(place: FilePlace, content: bytes) -> None:
    """Replaces everything appended by `content`, wholly or not at all."""
    _file(place).replace_appended(content)


def take_over(folder: FilePlace) -> None:
    """Call it when this process starts to write to a folder that another process may have written to."""
    if isinstance(folder, ObjectPlace):
        folder.forget_tails()


def entries(folder: FilePlace) -> list[Entry]:
    """Returns what is in a folder, by name. A missing folder is empty."""
    if not isinstance(folder, Path):
        return folder.entries()

    def scan() -> list[Entry]:
        names = []
        for path in folder.iterdir() if folder.is_dir() else ():
            try:
                names.append(Entry(path, path.is_dir(), path.stat().st_mtime_ns, kind_of(path.lstat().st_mode)))
            except FileNotFoundError:
                continue  # gone since
        return sorted(names)

    return patiently(scan, folder)


def exists(place: FilePlace) -> bool:
    return patiently(place.exists, place) if isinstance(place, Path) else place.exists()


def delete(place: FilePlace) -> None:
    """Deletes a file. A missing file is no error."""
    _file(place).unlink(missing_ok=True)


def rename(place: FilePlace, name: str) -> None:
    """Renames a file in its folder."""
    if isinstance(place, ObjectPlace):
        place.rename(place.with_name(name))
    else:
        file = Inside.of(place) if isinstance(place, Path) else place
        file.rename(file.with_name(name))


def make_folder(place: FilePlace) -> None:
    if isinstance(place, Path):
        patiently(lambda: place.mkdir(parents=True, exist_ok=True), place)
    else:
        place.mkdir()


def publish(draft: Callable[[Place], None], place: Place) -> None:
    """Makes a new folder with what `draft` writes into it.

    On a disk it appears when it is complete. In an object store `draft` must write last what makes the folder a run.
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


def each(work: Callable[[T], R], items: Iterable[T], at: FilePlace) -> list[R]:
    """Calls `work` for each item, in order, or many at a time if every access to `at` is a request over the network."""
    if not isinstance(at, ObjectPlace):
        return [work(item) for item in items]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))
