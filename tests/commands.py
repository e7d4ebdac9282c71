"""`raydarts ...` in this process: what a command prints, its exit code, its errors, without starting a new Python.

Commands which start Ray, are killed, or must not find what this process has loaded are run as processes of their own.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import torch


def run_here(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` of the command in this folder would answer; what it changes in this process is set back."""
    from raydarts.cli import main

    command = ["raydarts", *map(str, arguments)]
    out, err, code, threads = io.StringIO(), io.StringIO(), 0, torch.get_num_threads()
    with (
        chdir(cwd),
        mock.patch.object(sys, "argv", command),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:  # what would end a process with a traceback
            traceback.print_exc()
            code = 1
        finally:
            torch.set_num_threads(threads)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
