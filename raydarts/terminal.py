"""Text for a terminal: the one place where it is cleaned.

A spec, a genotype, a run directory or an error may hold characters that a terminal obeys: escape sequences, C1
controls, marks that reverse the direction of writing, line feeds that forge a line. Everything raydarts prints goes
through here and shows such a character as its Python escape (`\\x1b`, `\\u202e`, `\\n`). rich's markup (`[red]`) is
switched off. JSON and HTML have their own escapes.
"""

from __future__ import annotations

import logging
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from raydarts.errors import SpecError, shortened

LONGEST_LINE = 3000
"""Characters of one line on standard error; a value in it is cut before, so that only a bug comes here."""
MOST_LINES = 100

_HARMLESS = re.compile(r"[\x20-\x7e\xa0-\xac\xae-\u02ff]*")
_JOINERS = "\u200c\u200d"  # they shape words of Persian and Hindi, and emoji; no terminal obeys them
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formatting (bidi, zero width), surrogates, line separators


def clean(text: str, keep: str = "") -> str:
    """`text` on one line, with nothing in it that a terminal obeys. `keep`: controls that stay, as a line feed."""
    if _HARMLESS.fullmatch(text):
        return text
    return "".join(each if each in keep or not _is_unsafe(each) else _escape(each) for each in text)


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE and character not in _JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def line(value: object, style: str = "") -> Text:
    """A value as one line."""
    return Text(clean(str(value)), style=style)


def in_lines(values: Iterable[object]) -> Text:
    """Each value on a line of its own."""
    return Text("\n".join(clean(str(value)) for value in values))


def paragraph(text: str) -> Text:
    """A text of several lines as one paragraph, so that none of its lines can be taken for one of raydarts."""
    return Text(clean(" ".join(text.split())))


class CleanConsole(Console):
    """A console on which a `str` is one line without markup, and through which no control character comes.

    A `rich.text.Text` may have several lines: whoever makes one of a file's values uses `line`, `in_lines` or
    `paragraph`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(clean(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or _HARMLESS.fullmatch(segment.text):
                yield segment
            else:
                yield Segment(clean(segment.text, keep="\n"), segment.style)


def console() -> CleanConsole:
    """Standard output. A command asks for it when it starts: its width is what the terminal, or COLUMNS, is then."""
    return CleanConsole()


def say(to: Console, lines: Iterable[object]) -> None:
    """Each value on a line of its own, which is never broken: a path stays whole, however narrow the terminal is."""
    for each in lines:
        to.print(line(each), highlight=False, soft_wrap=True)


def complain(error: object, before: str = "") -> None:
    """Write an error or a warning to standard error, after the words `before`, cut where it is too long to be read.

    Each problem of a spec is a line. Of any other message the second line and those after it are indented: a line
    feed in a file's value cannot forge a message.
    """
    if isinstance(error, SpecError):
        messages = [str(problem) for problem in error.problems]
    else:
        first, *rest = f"{before}{error}".split("\n")
        messages = [first, *(f"  {line}" for line in rest if line.strip())]
    more = [f"and {len(messages) - MOST_LINES:,} more"] if len(messages) > MOST_LINES else []
    for line in [*messages[:MOST_LINES], *more]:
        sys.stderr.write(f"{shortened(clean(line), LONGEST_LINE)}\n")
    sys.stderr.flush()


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shortened(clean(super().format(record), keep="\n"), LONGEST_LINE)


def clean_warnings() -> None:
    """What raydarts logs goes to standard error as before, but clean."""
    logger = logging.getLogger("raydarts")
    if not any(isinstance(handler.formatter, _CleanFormatter) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(_CleanFormatter())
        logger.addHandler(handler)
