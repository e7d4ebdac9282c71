"""Types of plain data: what JSON and YAML can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
"""A value that JSON can hold, to be read. `storage.files.plain` makes one of any value."""
JsonObject = Mapping[str, Json]
"""A JSON object, to be read. A value of it needs a test of its type before it is used."""


def section(value: object) -> Mapping[str, object]:
    """Returns a JSON object as it is, and an empty one for anything else (an absent section is None)."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[object]:
    """Returns a JSON list as it is, and an empty one for anything else."""
    return value if isinstance(value, list | tuple) else ()


def whole(value: object, default: int = 0) -> int:
    """Returns a JSON number as an int, and `default` for anything else."""
    known = number(value)
    return default if known is None else int(known)


def text(value: object) -> str | None:
    """Returns a JSON text, and None for anything else."""
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    """Returns a JSON number, and None for anything else. True and false are no numbers."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
