"""Reads arrays of an .npz file. It checks their sizes before it takes memory for them."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import psutil
from numpy.lib import format as npy
from numpy.typing import NDArray

from raydarts.data.paths import shown
from raydarts.errors import DataError

_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,  # a zip with a password
    NotImplementedError,
    SyntaxError,
    TypeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_DEFLATE = 1032  # no deflated stream holds more than so many times its length
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """What a member of the file says of its array. `member` is its name in the zip."""

    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def headers(file: str) -> dict[str, Header]:
    """Returns every array's header by name. It reads no array.

    Raises `DataError` with everything that is wrong: no .npz file, a header that promises more than the file holds,
    arrays of objects, two arrays with one name.
    """
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: not an .npz file, as numpy.savez writes it")
    arrays: dict[str, Header] = {}
    problems: list[str] = []
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                try:
                    header = _header(archive, member, Path(file).stat().st_size)
                except _UNREADABLE as error:
                    problems.append(f"{file}: {shown(name)} cannot be read: {error}")
                else:
                    if name in arrays:
                        problems.append(f"{file}: holds {shown(name)} twice; which one is meant cannot be known")
                    arrays[name] = header
    except _UNREADABLE as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if problems:
        raise DataError("\n".join(problems[:10]))
    return arrays


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, length: int) -> Header:
    """Raises `ValueError` if the array of this header cannot be in the file."""
    packed = min(member.compress_size, length)
    if member.compress_type == zipfile.ZIP_STORED:
        most = packed
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        most = packed * _DEFLATE + 1024
    else:
        raise ValueError("it is packed in a way that numpy does not write; save it with numpy.savez_compressed")
    if member.file_size > most:
        raise ValueError(f"it says that it holds {member.file_size:,} bytes, and the file has room for {most:,}")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in _READERS:
            raise ValueError(f"its format has the version {version}; save it as plain numbers with numpy.savez")
        shape, _, dtype = _READERS[version](stream)
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled; save plain numbers")
    header = Header(member.filename, shape, dtype)
    if start + header.bytes != member.file_size:
        raise ValueError(
            f"its header says {dtype} of shape {shape}, which is {header.bytes:,} bytes, but it holds "
            f"{member.file_size - start:,}"
        )
    return header


def read_arrays(file: str, wanted: Mapping[str, Header]) -> dict[str, NDArray[np.generic]]:
    """Returns the arrays of these headers, unchanged. Raises `DataError`. Nothing is unpickled."""
    arrays: dict[str, NDArray[np.generic]] = {}
    key = ""
    try:
        with zipfile.ZipFile(file) as archive:
            for key, header in wanted.items():
                with archive.open(header.member) as stream:
                    arrays[key] = _array(stream)
    except _UNREADABLE as error:
        raise DataError(f"{file}: {shown(key) or 'the file'} cannot be read: {error}") from error
    return arrays


def _array(stream: IO[bytes]) -> NDArray[np.generic]:
    array: NDArray[np.generic] = npy.read_array(stream, allow_pickle=False)
    stream.read(1)  # the check sum is compared at the end
    return array


def require_memory(file: str, wanted: Sequence[Header]) -> None:
    """Raises `DataError` if the arrays do not fit in memory twice. A part of a split is a copy."""
    needed, free = 2 * sum(header.bytes for header in wanted), psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{file}: in memory its arrays need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; save fewer or "
            "smaller images, or give them as files to data.dataset image_folder with stream: true"
        )
