"""A small process that ends what is left of the local Ray when the driver has ended, however it ended.

After a SIGKILL of the driver the kernel ends Ray's first processes on Linux, and on other systems none. The agents of
its raylet go on for a minute or more, as they wait for a server that is gone; so may what trials started themselves.
This process waits for the end of a pipe whose other end the driver alone holds. Then it gives Ray a moment to end by
itself, and kills the rest: the processes the driver named, those with the mark in their environment, and theirs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import TextIO

import psutil

MARK = "RAYDARTS_LOCAL_RAY"
"""In the environment of all that the local Ray starts."""
_MOMENT, _LIMIT, _EVERY = 1.5, 15.0, 0.2


class Leftovers:
    """In the driver: `Leftovers()` before Ray starts, `started()` when it runs, `close()` when it has ended."""

    def __init__(self) -> None:
        self._mark = os.urandom(16).hex()
        os.environ[MARK] = self._mark
        # -P: a random.py in the working folder is not taken for Python's own.
        command = [sys.executable, "-P", __file__, self._mark]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - this file, by this Python
            command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True, text=True
        )

    def started(self) -> None:
        """Name Ray's processes: some of its agents write over the environment that the mark is in."""
        os.environ.pop(MARK, None)
        mine = [each for each in psutil.Process().children(recursive=True) if each.pid != self._process.pid]
        pipe = self._process.stdin
        if pipe is not None:
            with suppress(OSError):
                pipe.write(json.dumps(_named(mine)) + "\n")
                pipe.flush()

    def close(self) -> None:
        """End what is left, and wait until it is done."""
        os.environ.pop(MARK, None)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_LIMIT)


def _named(processes: list[psutil.Process]) -> list[tuple[int, float]]:
    """A process's number is given again after its end, so its start tells which one is meant."""
    named = []
    for process in processes:
        with suppress(psutil.Error):
            named.append((process.pid, process.create_time()))
    return named


def _left(mark: str, named: list[tuple[int, float]]) -> list[psutil.Process]:
    """The processes of this Ray that still live, and all that they have started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (process.pid, process.create_time()) in named or process.environ().get(MARK) == mark:
                found[process.pid] = process
    for process in list(found.values()):
        with suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True)}
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_leftovers(mark: str, pipe: TextIO) -> None:
    """Wait for the driver's end, then end what is left."""
    named: list[tuple[int, float]] = []
    for line in pipe:
        named += [(int(pid), float(start)) for pid, start in json.loads(line)]
    began = time.monotonic()
    while (left := _left(mark, named)) and time.monotonic() - began < _LIMIT:
        if time.monotonic() - began >= _MOMENT:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
        time.sleep(_EVERY)


if __name__ == "__main__":
    end_leftovers(sys.argv[1], sys.stdin)
