"""`raydarts ...` in this process: what a command prints, its exit code, its errors, without starting a new Python.

Commands which start Ray, are killed, or must not find what this process has loaded are run as processes of their own.
"""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from contextlib import chdir, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

WIDE = 500
"""Columns of the terminal: no word of a table is broken, however long the paths in it are."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, what it wrote, and how many seconds it took."""

    code: int
    out: str
    err: str
    seconds: float


class CrashError(AssertionError):
    """A command ended in a traceback."""


def run_here(*arguments: object, cwd: Path | None = None, columns: int = WIDE) -> Outcome:
    """Run `raydarts ARGUMENTS` through the entry point, as a user's shell does; `cwd`: another working folder.

    What the command changes in this process is set back. Raises `CrashError` where a traceback would reach the user.
    """
    from raydarts.cli import main

    command = ["raydarts", *map(str, arguments)]
    # Files with an encoding, not StringIO: a terminal refuses half a surrogate pair, and so must these.
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code, failure, threads, began = 0, "", torch.get_num_threads(), time.monotonic()
    torch.set_num_threads(1)
    with (
        nullcontext() if cwd is None else chdir(cwd),
        mock.patch.object(sys, "argv", command),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ, {"COLUMNS": str(columns)}),
        mock.patch.object(torch, "set_num_threads"),  # networks of tests are the fastest on one thread
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # what would end a process with a traceback
            failure = traceback.format_exc()
    torch.set_num_threads(threads)
    seconds = time.monotonic() - began
    written = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]  # type: ignore[attr-defined]
    if not failure and any("Traceback (most recent call last)" in text for text in written):
        failure = "".join(written)
    if failure:
        raise CrashError(f"{' '.join(command)}\n{failure}")
    return Outcome(code, *written, seconds)
