"""Paths of data: expands `~` and `$NAME` as a shell does, and shows names safely."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w*)\})")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)


def expanded(text: str) -> str:
    """Returns `text` with `~`, `~USER`, `$NAME` and `${NAME}` replaced. Raises `ValueError` if one has no value.

    It refuses a name that sounds like a password, because the path is written into run.json and into messages.
    """
    if not text.strip() or "\0" in text:
        raise ValueError("is no path: it is empty, or holds a NUL character")

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if _SECRET.search(name):
            raise ValueError(f"{match[0]} sounds like a password, and paths are shown to others: write the path out")
        if not os.environ.get(name):
            raise ValueError(f"the environment variable {name or match[0]} is not set: set it, or write the path out")
        return os.environ[name]

    path = os.path.expanduser(_VARIABLE.sub(value, text))  # noqa: PTH111 - keeps a relative path as it is written
    if path.startswith("~"):
        raise ValueError(
            f"{path.split('/')[0]} names no user of this machine; a folder whose name begins with ~ is written ./~..."
        )
    return path


def is_file(path: os.PathLike[str] | str) -> bool:
    """Returns False also if the path is too long, a circle of links, or not readable."""
    return os.path.isfile(path)  # noqa: PTH113 - pathlib's raises there


def is_folder(path: os.PathLike[str] | str) -> bool:
    """Like `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def is_there(path: os.PathLike[str] | str) -> bool:
    """Like `is_file`, for a file or folder."""
    return os.path.exists(path)  # noqa: PTH110


def shown(text: str) -> str:
    """Returns text from a file or folder, safe for a terminal and on one line."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


DataPath = Annotated[str, AfterValidator(expanded)]
"""A file or folder. It is expanded when the spec is read, so that run.json and every worker have the same path."""
