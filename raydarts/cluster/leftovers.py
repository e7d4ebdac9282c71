"""A small process beside the driver: it limits the start of a local Ray, and ends what is left of it afterwards.

This is the one place that ends a local Ray's processes and removes its folder, however the driver ended: in order,
with an error, or by SIGKILL. After a SIGKILL the kernel ends Ray's first processes on Linux, and on other systems
none. The agents of its raylet go on for a minute or more, as they wait for a server that is gone; so may what trials
started themselves. This process waits for the end of a pipe whose other end the driver alone holds. Then it gives Ray
a moment to end by itself, and kills the rest: the processes the driver named, those with the mark in their
environment, and theirs.

While Ray starts, it also watches the time. Ray may wait in C++ for ever, with Python's lock held, so that nothing in
the driver can say anything. This process then says what Ray's logs tell, and the driver's `ExitTimer` ends the driver.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO, TypedDict

import psutil

MARK = "RAYDARTS_LOCAL_RAY"
"""In the environment of all that the local Ray starts."""
MOMENT = 1.5
"""Seconds in which Ray may end by itself."""
LATER = 2.0
"""Seconds after the deadline in which the driver may still report by itself."""
TO_SAY = 3.0
"""Seconds between then and the end of the driver: meanwhile the reason is read and said."""
_LIMIT, _EVERY = 15.0, 0.2

Named = list[tuple[int, float]]
"""Processes by number and start: a number is given again after the end of a process."""


class Word(TypedDict, total=False):
    """What the driver says: the processes of Ray by pid and start, and how long they have to end."""

    named: list[tuple[int, float]]
    moment: float


class Leftovers:
    """In the driver: made before Ray starts. `started()`: it runs. `ending()`: it ends now. `close()`: it has ended.

    `folder`: the local Ray's, which is removed in the end. `seconds`: how long the start may take.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._mark = os.urandom(16).hex()
        self._before = set(psutil.Process().children())
        self._moment = MOMENT
        # -I: no file on PYTHONPATH or in the working folder takes the place of a module of Python.
        command = [sys.executable, "-I", __file__, self._mark, str(folder), str(os.getpid()), str(seconds)]
        self._process = subprocess.Popen(  # noqa: S603 - this file, by this Python
            [*command, os.pathsep.join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        self._before.add(psutil.Process(self._process.pid))
        os.environ[MARK] = self._mark

    def started(self) -> None:
        """Name Ray's processes: some of its agents write over the environment that the mark is in."""
        os.environ.pop(MARK, None)
        self._say({"named": self._named()})

    def ending(self, moment: float) -> None:
        """The driver ends Ray now, and reports by itself what went wrong. Processes may take `moment` seconds more."""
        self._moment = moment
        named = self._named() if MARK in os.environ else []  # it has not started yet
        self._say({"moment": moment, "named": named})

    def close(self) -> None:
        """End what is left, and wait until it is done."""
        os.environ.pop(MARK, None)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._moment + _LIMIT)

    def _named(self) -> Named:
        return _named(_with_descendants(set(psutil.Process().children()) - self._before))

    def _say(self, word: Word) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(json.dumps(word) + "\n")
                self._process.stdin.flush()


def _named(processes: Iterable[psutil.Process]) -> Named:
    named = []
    for process in processes:
        with suppress(psutil.Error):
            named.append((process.pid, process.create_time()))
    return named


def _with_descendants(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    everything = {root.pid: root for root in roots}
    for root in list(everything.values()):
        with suppress(psutil.Error):
            everything |= {child.pid: child for child in root.children(recursive=True)}
    return list(everything.values())


def _left(mark: str, named: Named) -> list[psutil.Process]:
    """The processes of this Ray that still live, and all that they have started."""
    roots = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (process.pid, process.create_time()) in named or process.environ().get(MARK) == mark:
                roots.append(process)
    return [process for process in _with_descendants(roots) if process.pid != os.getpid() and _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _words(pipe: TextIO) -> queue.Queue[Word | None]:
    """What the driver says; None is the end of it."""
    words: queue.Queue[Word | None] = queue.Queue()

    def listen() -> None:
        for line in pipe:
            words.put(json.loads(line))
        words.put(None)

    threading.Thread(target=listen, daemon=True).start()
    return words


def watch(pipe: TextIO, mark: str, folder: Path, driver: int, seconds: float) -> None:
    """Limit the start, wait for the driver's end, then end what is left."""
    words = _words(pipe)
    named: Named = []
    moment, starts = MOMENT, True
    left: float | None = seconds + LATER
    while True:
        try:
            word = words.get(timeout=left)
        except queue.Empty:
            if starts:
                _complain("a local Ray did not start in time", folder)
                starts, left, moment = False, 2 * TO_SAY, 0.0
            else:  # there is no timer in the driver
                with suppress(psutil.Error):
                    psutil.Process(driver).kill()
                left = None
            continue
        if word is None:
            break
        if starts:
            starts, left = False, None
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # whoever reads the driver's errors waits for no other
        named += [(pid, start) for pid, start in word.get("named", ())]
        moment = word.get("moment", moment)
    if starts:
        _complain("raydarts ended while a local Ray started", folder)
        moment = 0.0
    end(mark, named, moment)
    shutil.rmtree(folder, ignore_errors=True)


def end(mark: str, named: Named, moment: float) -> None:
    """Wait `moment` seconds for the ends of the processes, and kill those that are left."""
    began = time.monotonic()
    while (left := _left(mark, named)) and time.monotonic() - began < moment + _LIMIT:
        if time.monotonic() - began >= moment:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
        time.sleep(_EVERY)


def _complain(what: str, folder: Path) -> None:
    """Say it on the driver's standard error, with what Ray's logs tell. That it cannot be said changes nothing else."""
    with suppress(Exception):
        from raydarts.cluster import ray_logs  # noqa: PLC0415 - seldom needed, and not as fast as the rest
        from raydarts.cluster.deadline import SECONDS, limit  # noqa: PLC0415
        from raydarts.cluster.hiding import hiding_files  # noqa: PLC0415
        from raydarts.terminal import complain  # noqa: PLC0415

        lines = ray_logs.of_start(folder / "session_latest")
        advice = f"a slower machine may need more time: set {SECONDS} (now {limit():g})"
        complain("\n".join([what, *lines, *hiding_files(), advice]))


if __name__ == "__main__":
    sys.path += [place for place in sys.argv[5].split(os.pathsep) if place and place not in sys.path]
    watch(sys.stdin, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
