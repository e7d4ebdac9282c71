"""Text as markdown that cannot become markup: what a run is called or asks is shown, never interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*{}\[\]#!|$~@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LIST_OR_RULE = re.compile(r"^([-+=])")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def clean(text: object) -> str:
    """Plain text: halves of surrogate pairs become `?`, control characters (those of direction too) blanks."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(each if each in "\n\t" or each.isprintable() or each == "\u00a0" else " " for each in whole)


def escape(text: object) -> str:
    """One line of markdown that reads as `text`: no HTML, emphasis, link, image, formula, heading, list or cell."""
    line = _MARKUP.sub(r"\\\1", " ".join(clean(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = line.replace("://", r"\://").replace("www.", r"www\.")  # else made links without being asked
    return _NUMBERED.sub(r"\1\\\2", _LIST_OR_RULE.sub(r"\\\1", line))


def bullets(lines: Iterable[str]) -> str:
    """A list of lines, each escaped."""
    return "\n".join(f"- {escape(line)}" for line in lines)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, every cell escaped; an empty cell is `-`."""
    told = [[escape(header) for header in headers], ["---"] * len(headers)]
    told += [[_cell(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in told)


def _cell(value: object) -> str:
    return "-" if value in ("", "-") else escape(value)
