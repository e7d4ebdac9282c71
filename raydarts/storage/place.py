"""Where a run lies: a folder on a disk (local, or NFS), or a prefix in an object store, under one set of words.

On a disk a place is a `pathlib.Path`; in an object store an `ObjectPlace`, which has those of Path's words that runs
use. What lies in a run on a disk is an `Inside`, which follows no link. What they do differently (writing whole,
appending, listing, waiting for a storage that is away) is here.
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
from raydarts.storage.objects import SCHEMES, Entry, ObjectPlace
from raydarts.storage.patience import patiently

Place = Path | ObjectPlace
"""What a user names: a file, a run, what holds runs."""
FilePlace = Place | Inside
"""Those, and what lies in a run."""
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


def inside(folder: Place) -> Inside | ObjectPlace:
    """A run's folder, as the way to its files. An object store has no links."""
    return Inside(folder) if isinstance(folder, Path) else folder


def _file(place: FilePlace) -> Inside | ObjectPlace:
    return Inside.of(place) if isinstance(place, Path) else place


def write_bytes(place: FilePlace, content: bytes) -> None:
    """All of it or nothing: on a disk under a temporary name beside `place`, which then takes its place."""
    _file(place).write_bytes(content)


def read_bytes(place: FilePlace) -> bytes:
    """Raises `FileNotFoundError`, and `DamagedError` where `place` is a link, a folder or a pipe."""
    return _file(place).read_bytes()


def append(place: FilePlace, line: bytes) -> None:
    """Append one line, which ends with a line feed; a torn line left by a kill or a full disk is closed off first."""
    _file(place).append(line)


def read_appended(place: FilePlace) -> bytes:
    """All that was appended; empty where nothing was."""
    return _file(place).read_appended()


def replace_appended(place: FilePlace, content: bytes) -> None:
    """Put `content` in the place of all that was appended, wholly or not at all."""
    _file(place).replace_appended(content)


def take_over(folder: FilePlace) -> None:
    """To be called when this process begins to write to a folder that another may have written to."""
    if isinstance(folder, ObjectPlace):
        folder.forget_tails()


def entries(folder: FilePlace) -> list[Entry]:
    """What lies in a folder, by name; nothing where there is no such folder."""
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
    """Delete a file; nothing where it is not there."""
    _file(place).unlink(missing_ok=True)


def rename(place: FilePlace, name: str) -> None:
    """Give a file another name in its folder."""
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


def each(work: Callable[[T], R], items: Iterable[T], at: FilePlace) -> list[R]:
    """`work` of each item, in order; many at a time where every look at `at` is a request over the network."""
    if not isinstance(at, ObjectPlace):
        return [work(item) for item in items]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))
