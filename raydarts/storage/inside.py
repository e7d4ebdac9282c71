"""A place inside a run on a disk. It is reached from the run's own folder without following any link.

A run may come from somebody else. A link in it could lead anywhere: its target would be read into a report, written to,
or deleted. So every folder below the run's is opened in the one above it, and no name on the way may be a link
(`O_NOFOLLOW`). A file must be a regular file, because opening a pipe would wait for ever. Links above the run (`runs ->
/data/runs`) and a run's folder that is a link belong to the user and are followed. Links from one place in the run to
another are refused too: raydarts makes none. Hard links are like other files.
"""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import total_ordering
from pathlib import Path
from typing import TypeVar

from raydarts.errors import DamagedError
from raydarts.storage.objects import LARGEST as _LARGEST
from raydarts.storage.objects import Digest, Entry, Part, ended, newest_parts, part_name
from raydarts.storage.patience import patiently

T = TypeVar("T")
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_part(name: str) -> bool:
    """Returns whether a name is that of one file or folder and leads nowhere else."""
    return bool(name) and name not in (".", "..") and "/" not in name and "\0" not in name


def kind_of(mode: int) -> str | None:
    """Returns, in words, what is there instead of a file. None: a regular file."""
    if stat.S_ISREG(mode):
        return None
    return next((words for test, words in _KINDS if test(mode)), "no file")


@total_ordering
class Inside:
    """The place `way` below `root`. Has the methods of Path that runs use. A link on the way raises `DamagedError`."""

    __slots__ = ("root", "way")

    def __init__(self, root: Path, way: tuple[str, ...] = ()) -> None:
        self.root, self.way = root, way

    @classmethod
    def of(cls, path: Path) -> Inside:
        """Returns a file in the user's own folder. Links may lead to the folder. The file may be no link."""
        return cls(path.parent, (path.name,))

    @property
    def path(self) -> Path:
        """The path, for messages and for libraries that need one. It opens nothing."""
        return self.root.joinpath(*self.way)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Inside({str(self.root)!r}, {'/'.join(self.way)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inside) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __lt__(self, other: Inside) -> bool:
        return self.path < other.path

    def __truediv__(self, name: str) -> Inside:
        """Raises `DamagedError` if `name` would lead elsewhere. It may come from a file."""
        parts = tuple(name.split("/"))
        if not all(is_part(part) for part in parts):
            raise DamagedError(f"{self.path}: {name!a} is no name of a file in a run")
        return Inside(self.root, (*self.way, *parts))

    @property
    def name(self) -> str:
        return self.way[-1] if self.way else self.root.name

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> Inside:
        return Inside(self.root, self.way[:-1])

    def with_name(self, name: str) -> Inside:
        return self.parent / name

    def _damaged(self, what: str, advice: str = "move it away") -> DamagedError:
        return DamagedError(f"{self.path}: is {what}, where raydarts keeps a file; {advice}")

    def _link(self) -> DamagedError:
        return DamagedError(
            f"{self.path}: is a link, and raydarts follows no link here: put what it points to in its place, or remove "
            "it"
        )

    @contextmanager
    def _folder(self, make: bool = False) -> Iterator[int]:
        """Returns a descriptor of this folder. Raises `FileNotFoundError` if there is none."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for depth, part in enumerate(self.way, start=1):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                here = Inside(self.root, self.way[:depth])
                below = here._open_folder(part, descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_folder(self, part: str, above: int) -> int:
        mode = os.stat(part, dir_fd=above, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise self._link()
        if not stat.S_ISDIR(mode):
            raise DamagedError(
                f"{self.path}: is {kind_of(mode) or 'a file'}, where raydarts keeps a folder; move it away"
            )
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)

    def _check(self, above: int) -> os.stat_result | None:
        """Returns what is here, or None. Raises `DamagedError` if it is no regular file."""
        try:
            status = os.stat(self.name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return None
        kind = kind_of(status.st_mode)
        if kind == "a link":
            raise self._link()
        if kind is not None:
            raise self._damaged(kind)
        return status

    def open(self, flags: int) -> int:
        """Returns a descriptor of this regular file. The caller closes it."""
        with self.parent._folder() as above:
            self._check(above)  # checked first, because a socket cannot be opened and a device might do anything
            descriptor = os.open(self.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=above)
            if (kind := kind_of(os.fstat(descriptor).st_mode)) is not None:
                os.close(descriptor)
                raise self._damaged(kind)
            return descriptor

    def read_bytes(self) -> bytes:
        """Returns the content. Raises `FileNotFoundError`."""

        def read() -> bytes:
            with os.fdopen(self.open(os.O_RDONLY), "rb") as file:
                if os.fstat(file.fileno()).st_size > _LARGEST:
                    raise self._damaged("larger than 1 GiB")
                return file.read()

        return self._patiently(read)

    def digest(self) -> Digest:
        """Returns the SHA-256 of this file, which is read piece by piece. Raises `FileNotFoundError`."""

        def read() -> Digest:
            with os.fdopen(self.open(os.O_RDONLY), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > _LARGEST:
                    return Digest(None, size)
                return Digest(hashlib.file_digest(file, "sha256").hexdigest(), size)

        return self._patiently(read)

    def write_bytes(self, content: bytes) -> None:
        """Writes all or nothing: to a temporary name beside this place, which then replaces it."""

        def write() -> None:
            temporary = f".{self.name}.{uuid.uuid4().hex[:8]}.tmp"
            with self.parent._folder() as above:
                self._check(above)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                try:
                    with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=above), "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(temporary, self.name, src_dir_fd=above, dst_dir_fd=above)
                finally:
                    _unlink(temporary, above)

        self._patiently(write)

    def append(self, line: bytes) -> None:
        """Appends one line that ends with a line feed. A torn line from a kill or a full disk is ended first."""
        attempts, parts = iter([False]), self._parts()
        file: Inside = parts[-1].place if parts else self
        file._patiently(lambda: file._append(line, again=next(attempts, True)))

    def _append(self, line: bytes, *, again: bool) -> None:
        with os.fdopen(self.open(os.O_RDWR | os.O_APPEND | os.O_CREAT), "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(line)))
            end = file.read()
            if not (again and end == line):  # written before, but not known to be on the disk
                whole = line if end.endswith(b"\n") or not size else b"\n" + line
                written = file.write(whole)
                while written < len(whole):  # a nearly full disk takes only a part, and the next write raises
                    written += file.write(whole[written:])
            os.fsync(file.fileno())  # after a loss of power a checkpoint must not claim a row that was lost

    def read_appended(self) -> bytes:
        """Returns everything appended, or nothing."""
        while True:
            parts = self._parts()
            try:
                return b"".join(ended(part.place.read_bytes()) for part in parts) if parts else self.read_bytes()
            except FileNotFoundError:
                if not parts:
                    return b""  # else replaced in the meantime: the new generation is read

    def replace_appended(self, content: bytes) -> None:
        if not (parts := self._parts()):
            self.write_bytes(content)
            return
        (self / part_name(parts[0].generation + 1, 1)).write_bytes(content)
        for part in parts:
            part.place.unlink(missing_ok=True)

    def _parts(self) -> list[Part]:
        """Returns the parts of a file of lines that other tools copied from an object store."""
        return newest_parts(self.entries()) if self.is_dir() else []

    def entries(self) -> list[Entry]:
        """Returns what is in this folder, by name. Links are returned as links. A missing folder is empty."""

        def scan() -> list[Entry]:
            names = []
            try:
                with self._folder() as descriptor:
                    for name in os.listdir(descriptor):  # noqa: PTH208 - of a descriptor
                        try:
                            at = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                        except FileNotFoundError:
                            continue  # gone since
                        place = Inside(self.root, (*self.way, name))
                        names.append(Entry(place, stat.S_ISDIR(at.st_mode), at.st_mtime_ns, kind_of(at.st_mode)))
            except FileNotFoundError:
                return []
            return sorted(names)

        return self._patiently(scan)

    def _mode(self) -> int | None:
        """Returns what is here, a link as a link. None: nothing."""

        def look() -> int | None:
            try:
                if not self.way:
                    return self.root.stat().st_mode
                with self.parent._folder() as above:
                    return os.stat(self.name, dir_fd=above, follow_symlinks=False).st_mode
            except FileNotFoundError:
                return None

        return self._patiently(look)

    def exists(self) -> bool:
        """Returns whether anything has this name, also a link that leads nowhere."""
        return self._mode() is not None

    def is_dir(self) -> bool:
        mode = self._mode()
        return mode is not None and stat.S_ISDIR(mode)

    def mkdir(self) -> None:
        """Makes this folder and those above it, up to the run's."""

        def make() -> None:
            self.root.mkdir(parents=True, exist_ok=True)
            with self._folder(make=True):
                pass

        self._patiently(make)

    def unlink(self, missing_ok: bool = False) -> None:
        """Deletes the file, or the link itself."""

        def delete() -> None:
            try:
                with self.parent._folder() as above:
                    os.unlink(self.name, dir_fd=above)
            except FileNotFoundError:
                if not missing_ok:
                    raise
            except IsADirectoryError:
                raise self._damaged("a folder") from None

        self._patiently(delete)

    def rename(self, target: Inside) -> None:
        """Renames it in the same folder. A link itself is renamed."""
        with self.parent._folder() as above:
            os.rename(self.name, target.name, src_dir_fd=above, dst_dir_fd=above)

    def _patiently(self, act: Callable[[], T]) -> T:
        return patiently(act, self.path)


def _unlink(name: str, above: int) -> None:
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return
