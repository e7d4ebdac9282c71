"""The former name of `tests.commands.run_here`, for tests/unit/config/test_idle_settings.py until that is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.commands import Outcome, run_here


def run_command(argv: Sequence[str | Path]) -> Outcome:
    return run_here(*argv)
