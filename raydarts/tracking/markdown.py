"""Text as markdown that cannot become markup: what a run is called or asks is shown, never interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]#!|$~@])")
_BEGINNING = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")


def clean(text: object) -> str:
    """Plain text: halves of surrogate pairs and control characters (of direction too) become `?` and a blank."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(
        character if character in "\n\t" or character.isprintable() or character == "\u00a0" else " "
        for character in whole
    )


def escape(text: object) -> str:
    """One line of markdown that reads as `text` does: no HTML, emphasis, link, image, formula, heading, list or cell."""
    line = " ".join(clean(text).split())
    line = _MARKUP.sub(r"\\\1", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = line.replace("://", r"\://").replace("www.", r"www\.")  # else made links without being asked
    return _BEGINNING.sub(lambda found: f"{found[1]}\\{found[2]}" if not found[2].isdigit() else found[0], _numbered(line))


def _numbered(line: str) -> str:
    """`1. x` and `1) x` begin a list; `1\\. x` does not."""
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def bullets(lines: Iterable[str]) -> str:
    """A list of lines, each escaped."""
    return "\n".join(f"- {escape(line)}" for line in lines)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, every cell escaped; an empty cell is `-`."""
    lines = [headers, ["---"] * len(headers)]
    told = [[escape(cell) or "-" for cell in row] for row in rows]
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in ([escape(h) for h in lines[0]], lines[1], *told)
    )
