"""Writing JSON so that a kill at any moment leaves the old file or the new one, never half of one."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """`value` with JSON's types only: tuples become lists, NaN and infinities None, numpy scalars numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


def write_bytes(path: Path, content: bytes) -> None:
    """Write under a temporary name beside `path`, then take its place."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(plain(value), indent=2, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """The value, or None where the file is absent. A damaged file raises ValueError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _line(value: Any) -> str:
    return json.dumps(plain(value), allow_nan=False) + "\n"


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line in one write; a torn line left by a kill is closed off first."""
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(_line(value).encode())
        file.flush()
        os.fsync(file.fileno())  # a checkpoint that outlives a loss of power must not claim a row that does not


def write_lines(path: Path, values: Iterable[Any]) -> None:
    write_bytes(path, "".join(_line(value) for value in values).encode())


def read_lines(path: Path) -> list[Any]:
    """All whole lines; one that a kill tore is left out."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    values = []
    for line in text.splitlines():
        try:
            values.append(json.loads(line))
        except ValueError:
            continue
    return values
