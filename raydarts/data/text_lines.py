"""Reads the lines of a UTF-8 file, and says what a file is if it is something else."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import psutil

from raydarts.data.paths import is_file, is_there
from raydarts.errors import DataError

_MARK = "\ufeff"
_OTHER_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_TIMES = 16
"""So many times a file's size its words take in memory, about."""


def lines_of(path: Path) -> Iterator[str]:
    """Returns lines with their ends. A byte order mark before the first line is left out.

    Raises `DataError` with file and line if the file is missing, no UTF-8 text, or too large for memory.
    """
    if not is_there(path):
        raise DataError(f"{path}: there is no such file")
    if not is_file(path):
        raise DataError(f"{path}: is no file")
    _require_memory(path)
    alone = ends = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1:
                    _refuse_other_marks(path, raw)
                line = _decoded(raw, f"{path}:{number}")
                yield line.removeprefix(_MARK) if number == 1 else line
                alone += line.count("\r") - line.count("\r\n")
                ends += line.endswith("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if alone > ends:
        raise DataError(
            f"{path}: its lines seem to end with a carriage return ({alone:,} of them, and {ends:,} line feeds), which "
            f"would make one line of them; convert it: tr '\\r' '\\n'"
        )


def _require_memory(path: Path) -> None:
    needed, free = _TIMES * path.stat().st_size, psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{path}: in memory its words need about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; give a "
            "part of it"
        )


def _refuse_other_marks(path: Path, raw: bytes) -> None:
    for mark, name in _OTHER_MARKS.items():
        if raw.startswith(mark):
            raise DataError(f"{path}: is {name}, not UTF-8; convert it: iconv -f {name} -t UTF-8")


def _decoded(raw: bytes, where: str) -> str:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: cannot be read as UTF-8 text (byte {raw[error.start]:#04x} in column {error.start + 1}); if it "
            "is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"
        ) from None
    if "\0" in line:
        raise DataError(f"{where}: holds a NUL character: this is no text, or UTF-16 (iconv -f UTF-16LE -t UTF-8)")
    if _MARK in line[1:] or (line.startswith(_MARK) and not where.endswith(":1")):
        raise DataError(
            f"{where}: holds a byte order mark (U+FEFF) in the text, where it would be part of a word; remove it "
            "(files put together often have one where the second begins)"
        )
    return line
