"""Runs a command of the command line in this process, as a user would, and says how it ended."""

from __future__ import annotations

import contextlib
import io
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raydarts import cli

LONGEST = 5.0
"""Seconds that a command may take on an input that is small."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, what it wrote, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float


class CrashError(AssertionError):
    """A command ended in a traceback."""


def run_command(argv: Sequence[str | Path]) -> Outcome:
    """Run `raydarts ARGV` through the entry point. Raises `CrashError` where a traceback would reach the user."""
    words = [str(word) for word in argv]
    # Files with an encoding, not StringIO: a terminal refuses half a surrogate pair, and so must these.
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code, failure = 0, None
    began = time.monotonic()
    with _replaced(words, out, err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            failure = traceback.format_exc()
    seconds = time.monotonic() - began
    told = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]  # type: ignore[attr-defined]
    if failure is None and "Traceback (most recent call last)" in told[0] + told[1]:
        failure = told[0] + told[1]
    if failure is not None:
        raise CrashError(f"raydarts {' '.join(words)}\n{failure}")
    return Outcome(code, told[0], told[1], seconds)


@contextlib.contextmanager
def _replaced(words: list[str], out: io.TextIOWrapper, err: io.TextIOWrapper) -> Iterator[None]:
    """The command line, its output and the module path of this process, for one command."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = ["raydarts", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    finally:
        sys.argv, sys.path[:] = argv, path
