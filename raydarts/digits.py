"""Whole numbers in names and paths. `str.isdigit` takes `²` for a digit, at which `int` fails, and any length."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]{1,9}")


def whole_number(text: str) -> int | None:
    """The number that ASCII digits write, at most nine of them; None: `text` is no such number."""
    return int(text) if _DIGITS.fullmatch(text) else None
