"""JSON in files. A kill at any moment leaves the old file or the new one, never half of one.

`reading.py` reads and checks a run's files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import overload

from raydarts.json_types import Json
from raydarts.storage.place import FilePlace, append, read_appended, read_bytes, replace_appended, write_bytes


@overload
def plain(value: Mapping[str, object]) -> dict[str, Json]: ...
@overload
def plain(value: object) -> Json: ...
def plain(value: object) -> Json:
    """Returns `value` with JSON types only: tuples become lists, NaN and infinities None, numpy scalars numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):
        number: object = value.item()
        return plain(number)
    return str(value)


def write_json(path: FilePlace, value: object) -> None:
    text = json.dumps(plain(value), indent=2, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: FilePlace) -> object:
    """Returns the value, or None if the file is missing. A damaged file raises ValueError."""
    try:
        return json.loads(read_bytes(path).decode())
    except FileNotFoundError:
        return None


def _line(value: object) -> str:
    return json.dumps(plain(value), allow_nan=False) + "\n"


def append_line(path: FilePlace, value: object) -> None:
    """Appends one JSON line. A torn line from a kill or a full disk is ended first."""
    append(path, _line(value).encode())


def write_lines(path: FilePlace, values: Iterable[object]) -> None:
    """Replaces all appended lines by these."""
    replace_appended(path, "".join(_line(value) for value in values).encode())


def read_lines(path: FilePlace) -> list[object]:
    """Returns all whole lines. A line that a kill or a full disk tore is left out."""
    values = []
    for line in read_appended(path).decode(errors="replace").splitlines():
        try:
            values.append(json.loads(line))
        except ValueError:
            continue
    return values
