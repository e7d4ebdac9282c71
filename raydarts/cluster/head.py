"""The Ray that a driver works on, watched by it: where Ray is lost, the sweep ends with words and can go on."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from raydarts.runs.directory import RunDirectory
from raydarts.terminal import complain

HEAD_LOST = 5
_TIMEOUT = 5.0
_STOPPED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


@dataclass(frozen=True)
class Part:
    """A part of Ray that the driver cannot do without: what it is called, and where it listens.

    `pid`: its process, where that is one of this machine. The kernel takes connections for a process that is stopped
    (SIGSTOP), so its state is looked at too.
    """

    name: str
    host: str
    port: int
    pid: int | None = None

    def answers(self) -> bool:
        try:
            if self.pid is not None and psutil.Process(self.pid).status() in _STOPPED:
                return False
            socket.create_connection((self.host, self.port), timeout=_TIMEOUT).close()
        except (OSError, psutil.Error):
            return False
        return True


@dataclass
class Watch:
    """Ends this process where a part has not answered for `patience` seconds, asked `every` so many."""

    parts: tuple[Part, ...]
    every: float
    patience: float
    hint: str
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        seen = dict.fromkeys(self.parts, time.monotonic())
        asked = time.monotonic()
        while not self.done.wait(self.every):
            asleep = time.monotonic() - asked > self.every + self.patience  # the driver itself was stopped (Ctrl-Z)
            asked = time.monotonic()
            if asleep:
                seen = dict.fromkeys(self.parts, asked)
            for part in self.parts:
                if part.answers():
                    seen[part] = time.monotonic()
                elif time.monotonic() - seen[part] > self.patience and not self.done.is_set():
                    self._end(part)

    def _end(self, part: Part) -> None:
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[?25h")  # the panel of the running sweep hides the cursor
            sys.stdout.flush()
        complain(
            f"{part.name} at {part.host}:{part.port} has not answered for {self.patience:g} s and counts as lost; "
            f"{self.hint}"
        )
        os._exit(HEAD_LOST)  # Ray's own threads wait for it, and would keep an orderly end waiting

    def settle(self) -> None:
        """Return when all parts answer. Where one stays away, this process ends meanwhile."""
        while not self.done.is_set() and not all(part.answers() for part in self.parts):
            time.sleep(0.2)


_watches: list[Watch] = []


@contextmanager
def watched(run: RunDirectory, address: str | None) -> Iterator[None]:
    """While inside, end this process (exit code 5) where a part of Ray that it needs is lost.

    Of a cluster these are its head and the raylet of this machine, which are waited for 20 seconds. Of a Ray of this
    process's own they are the same two, which do not come back; the kernel answers for them while they live, however
    busy they are, so 4 seconds are enough. Left to itself Ray would wait for ever for a raylet, and end the process a
    minute after the head, in the middle of whatever it does and without a word of how to go on. Everything a run
    needs is on disk at any moment, so that nothing more is lost by ending here.
    """
    import ray  # noqa: PLC0415 - after the environment

    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    node = ray.get_runtime_context().get_node_id()
    raylets = [
        (each["NodeManagerAddress"], int(each["NodeManagerPort"]))
        for each in ray.nodes()  # type: ignore[no-untyped-call]
        if each["NodeID"] == node
    ]
    resume = f"raydarts resume {run.path}"
    if address is None:
        pids = {each.name(): each.pid for each in psutil.Process().children()}
        parts = [Part("the local Ray's gcs_server", host, int(port), pids.get("gcs_server"))]
        parts += [Part("the local Ray's raylet", *raylet, pids.get("raylet")) for raylet in raylets]
        watch = Watch(tuple(parts), 1.0, 4.0, f"what was reported is kept; go on with: {resume}")
    else:
        parts = [Part("the head of the cluster", host, int(port))]
        parts += [Part("this machine's raylet", *raylet) for raylet in raylets]
        hint = f"when a cluster is up again go on with: {resume} --address ADDRESS"
        watch = Watch(tuple(parts), 2.0, 20.0, hint)
    threading.Thread(target=watch.run, daemon=True).start()
    _watches.append(watch)
    try:
        yield
    finally:
        watch.done.set()
        _watches.remove(watch)


def settle() -> None:
    """Called where a trial's process was lost: where Ray itself is lost, that is no fault of the trial.

    It returns at once where Ray lives, and else when it answers again, or never: then `watched` ends this process.
    """
    for watch in _watches:
        watch.settle()
