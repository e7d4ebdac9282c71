"""A place in an object store (S3, Google Cloud Storage), with pathlib's methods.

An object exists whole or not at all, so a write needs no temporary name. It cannot be appended to. So a file of lines
is a folder of parts, `NAME/GENERATION-NUMBER-WRITER`. Each process writes its own parts and rewrites only its newest
one, until that holds `PART_BYTES`. So n lines cost n writes of at most that many bytes. A process that was replaced can
never overwrite a line of its successor. Replacing the file starts a new generation, and readers read only the newest
one. The replacement is one write, so it happens wholly or not at all.

Other tools may copy a run from a disk into a store. Its files of lines are then single objects. They are read, and the
first line that is appended makes parts of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from raydarts.errors import InputError
from raydarts.storage.patience import patiently

SCHEMES = ("s3", "gs")
PART_BYTES = 256 * 1024
_QUERY = ("endpoint_override", "scheme", "region")
_PART = re.compile(r"^(\d{6})-(\d{6})-[0-9a-f]{8}$")
_TAILS = 8
_WRITER = uuid.uuid4().hex[:8]


LARGEST = 1 << 30
"""Most bytes of a file that is read at once. raydarts writes no larger text."""


class Digest(NamedTuple):
    """The SHA-256 of a file's bytes, and how many they are. None: more than `LARGEST`."""

    sha256: str | None
    size: int


class Entry(NamedTuple):
    """What is in a folder. `instead` says what it is if it is no regular file, for example a link."""

    place: Any
    is_folder: bool
    modified_ns: int
    instead: str | None = None


class Part(NamedTuple):
    """A part of a file of lines."""

    generation: int
    number: int
    place: Any


def newest_parts(listed: Iterable[Entry]) -> list[Part]:
    """Returns the parts of the newest generation, in order."""
    parts = []
    for entry in listed:
        if match := _PART.match(entry.place.name):
            parts.append(Part(int(match[1]), int(match[2]), entry.place))
    newest = max((part.generation for part in parts), default=0)
    return sorted(part for part in parts if part.generation == newest)


def part_name(generation: int, number: int) -> str:
    """Returns the name of a part that this process writes."""
    return f"{generation:06d}-{number:06d}-{_WRITER}"


def ended(content: bytes) -> bytes:
    """Returns the lines with a line feed after the last one. A kill may have torn that one."""
    return content if content.endswith(b"\n") or not content else content + b"\n"


class _Tail:
    """The part that this process is writing."""

    def __init__(self, generation: int, number: int, content: bytes = b"") -> None:
        self.generation, self.number, self.content = generation, number, content


_tails: dict[ObjectPlace, _Tail] = {}


class ObjectPlace:
    """`s3://BUCKET/KEY` or `gs://BUCKET/KEY`.

    A query may say more of the server: `endpoint_override`, `scheme`, `region`. Keys and passwords come from the
    environment or the vendor's own files, never from the URI. Every call waits for a store that is away for a short
    time (`patience.py`).
    """

    __slots__ = ("_path", "_query", "_scheme")

    def __init__(self, scheme: str, path: str, query: str = "") -> None:
        self._scheme, self._path, self._query = scheme, path, query

    @classmethod
    def parse(cls, uri: str) -> ObjectPlace:
        """Parses a URI. Raises `InputError` if it is malformed or holds a user or password.

        The message does not repeat a URI with a password.
        """
        scheme, _, rest = uri.partition("://")
        path, _, query = rest.partition("?")
        if "@" in path.split("/")[0]:
            raise InputError(
                f"{scheme}://...@...: a storage URI holds no user and no password; set them in the environment "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS)"
            )
        unknown = sorted({key for key, _ in parse_qsl(query, keep_blank_values=True)} - set(_QUERY))
        if unknown or "@" in query:
            raise InputError(
                f"{scheme}://{path}?...: after the question mark only {', '.join(_QUERY)} may be given"
                + (f", not {', '.join(unknown)}" if unknown else ", without user or password")
            )
        parts = [part for part in path.split("/") if part]
        if not parts or path.startswith("/") or {".", ".."} & set(parts) or "#" in path:
            raise InputError(f"{uri}: must be {scheme}://BUCKET/PREFIX, without '.', '..' and '#'")
        return cls(scheme, "/".join(parts), query)

    def __str__(self) -> str:
        return f"{self._scheme}://{self._path}" + (f"?{self._query}" if self._query else "")

    def __repr__(self) -> str:
        return f"ObjectPlace({str(self)!r})"

    def _key(self) -> tuple[str, str, str]:
        return (self._scheme, self._path, self._query)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPlace) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __lt__(self, other: ObjectPlace) -> bool:
        return self._key() < other._key()

    def __truediv__(self, name: str) -> ObjectPlace:
        return ObjectPlace(self._scheme, str(PurePosixPath(self._path) / name), self._query)

    @property
    def name(self) -> str:
        return PurePosixPath(self._path).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self._path).suffix

    @property
    def parent(self) -> ObjectPlace:
        above = PurePosixPath(self._path).parent
        return self if str(above) == "." else ObjectPlace(self._scheme, str(above), self._query)

    def with_name(self, name: str) -> ObjectPlace:
        return self.parent / name

    def absolute(self) -> ObjectPlace:
        return self

    @property
    def filesystem(self) -> Any:
        """pyarrow's filesystem: one for each server and process."""
        endpoints = (os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ENDPOINT_URL"))
        return _filesystem(self._scheme, self._path.split("/")[0], self._query, endpoints)

    @property
    def key(self) -> str:
        """`BUCKET/KEY`, as pyarrow's filesystems name it."""
        return self._path

    def _type(self) -> Any:
        return patiently(lambda: self.filesystem.get_file_info(self._path).type, self)

    def exists(self) -> bool:
        from pyarrow.fs import FileType  # noqa: PLC0415 - a third of a second

        return bool(self._type() != FileType.NotFound)

    def is_dir(self) -> bool:
        from pyarrow.fs import FileType  # noqa: PLC0415

        return bool(self._type() == FileType.Directory)

    def is_file(self) -> bool:
        from pyarrow.fs import FileType  # noqa: PLC0415

        return bool(self._type() == FileType.File)

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Does nothing. A folder exists as soon as something is in it."""

    def entries(self) -> list[Entry]:
        """Returns what is in this folder, by name. A missing folder is empty."""
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415

        selector = FileSelector(self._path, allow_not_found=True)
        infos = patiently(lambda: self.filesystem.get_file_info(selector), self)
        return sorted(
            Entry(self / info.base_name, info.type == FileType.Directory, info.mtime_ns or 0) for info in infos
        )

    def iterdir(self) -> Iterator[ObjectPlace]:
        return (entry.place for entry in self.entries())

    def read_bytes(self) -> bytes:
        """Returns the content. Raises `FileNotFoundError`."""

        def read() -> bytes:
            with self.filesystem.open_input_stream(self._path) as stream:
                return bytes(stream.readall())

        return patiently(read, self)

    def digest(self) -> Digest:
        """Returns the SHA-256 of this object, which is read piece by piece. Raises `FileNotFoundError`."""

        def read() -> Digest:
            size = self.filesystem.get_file_info(self._path).size or 0
            if size > LARGEST:
                return Digest(None, size)
            made = hashlib.sha256()
            with self.filesystem.open_input_stream(self._path) as stream:
                while piece := stream.read(1 << 20):
                    made.update(piece)
            return Digest(made.hexdigest(), size)

        return patiently(read, self)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, content: bytes) -> None:
        """Writes the whole object at once. Of a large one in pieces nothing is visible before the last piece."""

        def write() -> None:
            with self.filesystem.open_output_stream(self._path) as stream:
                stream.write(content)

        patiently(write, self)

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        self.write_bytes(text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        def delete() -> None:
            try:
                self.filesystem.delete_file(self._path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

        patiently(delete, self)

    def rename(self, target: ObjectPlace) -> None:
        """Copies, then deletes. A kill between leaves both."""
        patiently(lambda: self.filesystem.copy_file(self._path, target._path), self)
        self.unlink(missing_ok=True)

    def _parts(self) -> list[Part]:
        return newest_parts(self.entries())

    def _copied(self) -> bytes:
        """Returns the content of a file of lines that was copied from a disk, and has no parts."""
        try:
            return self.read_bytes()
        except FileNotFoundError:
            return b""

    def read_appended(self) -> bytes:
        """Returns everything appended, or the last replacement and what was appended to it.

        It is empty if there is nothing.
        """
        while True:
            try:
                parts = self._parts()
                return b"".join(part.place.read_bytes() for part in parts) if parts else self._copied()
            except FileNotFoundError:
                continue  # replaced in the meantime: the new generation is read

    def append(self, line: bytes) -> None:
        """Appends one line. A repetition after an error does not add it twice."""
        tail, copied = _tails.get(self), b""
        if tail is None:
            parts = self._parts()
            generation, number, _ = parts[-1] if parts else Part(1, 0, self)
            copied = b"" if parts else ended(self._copied())
            tail = _Tail(generation, number + 1, copied)
        elif len(tail.content) + len(line) > PART_BYTES:
            tail = _Tail(tail.generation, tail.number + 1)
        self._part(tail).write_bytes(tail.content + line)
        tail.content += line
        self._keep(tail)
        if copied:
            self.unlink(missing_ok=True)

    def replace_appended(self, content: bytes) -> None:
        """Replaces everything appended by `content`, in one write. Then the old parts are deleted."""
        listed = self.entries()
        generation = max((part.generation for part in newest_parts(listed)), default=0) + 1
        tail = _Tail(generation, 1, content)
        self._part(tail).write_bytes(content)
        self._keep(tail)
        for place in (*(entry.place for entry in listed), self):  # itself, if it was copied from a disk
            place.unlink(missing_ok=True)

    def _keep(self, tail: _Tail) -> None:
        _tails.pop(self, None)
        _tails[self] = tail
        while len(_tails) > _TAILS:  # forgetting one costs one more part
            _tails.pop(next(iter(_tails)))

    def forget_tails(self) -> None:
        """Forgets where the files of lines in this folder end.

        Another process may have written to them.
        """
        for place in [place for place in _tails if place.parent == self]:
            del _tails[place]

    def _part(self, tail: _Tail) -> ObjectPlace:
        return self / part_name(tail.generation, tail.number)


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str, query: str, endpoints: tuple[str | None, ...]) -> object:
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    if any(endpoint and "@" in endpoint for endpoint in endpoints):
        raise InputError("AWS_ENDPOINT_URL: holds a user or password; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    more = ["allow_delayed_open=true"] if scheme == "s3" else []  # one request for a small object, not three
    uri = f"{scheme}://{bucket}" + ("?" + "&".join([*([query] if query else []), *more]) if query or more else "")
    try:
        return FileSystem.from_uri(uri)[0]
    except (ValueError, OSError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise InputError(f"{scheme}://{bucket}: cannot be used as storage: {error}") from error
