"""Processes that are to be killed. They come out of a server that has imported torch and Ray once.

An import takes longer than what most of them do. A process kills itself at the moment that its test chooses. A test
that looked from outside could be too late on a busy machine.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_IMPORTED = [
    "raydarts.single",
    "raydarts.cli",
    "sklearn.datasets",
    "tests.fault.small_sweeps",
    "tests.imported_ray",
]


def start(target: Callable[..., Any], *arguments: Any, output: Path | None = None, kill: Any = None) -> BaseProcess:
    """Start `target(*arguments)` in a process of its own, which ends with the number that `target` returns.

    `output`: a file for what it writes. `kill`: a function that returns True when the process is to be killed, and the
    seconds to wait after that.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(target=_run, args=(target, arguments, output, kill, dict(os.environ)))
    process.start()
    return process


def ended(process: BaseProcess, seconds: float = 120) -> int:
    """Wait for the end of a process; its exit code, which is -9 where it was killed."""
    process.join(seconds)
    assert process.exitcode is not None, f"the process has not ended in {seconds:g} s"
    return process.exitcode


def _run(
    target: Callable[..., Any], arguments: tuple[Any, ...], output: Path | None, kill: Any, environment: dict[str, str]
) -> None:
    os.setsid()  # so that what it starts is killed with it
    read = os.environ.get("RAY_AUTH_MODE")
    os.environ.clear()  # the server's, which began in an earlier test
    os.environ.update(environment)
    # Ray read this when the server imported it. What Ray starts now would take another mode from the environment.
    os.environ.pop("RAY_AUTH_MODE", None)
    if read is not None:
        os.environ["RAY_AUTH_MODE"] = read
    if output is not None:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
    if kill is not None:
        threading.Thread(target=_kill, args=kill, daemon=True).start()
    sys.exit(target(*arguments))


def _kill(when: Callable[[], bool], seconds: float) -> None:
    while not when():
        time.sleep(0.001)
    time.sleep(seconds)
    os.killpg(os.getpid(), signal.SIGKILL)
