"""The head of a running cluster, watched from the driver: where it is lost, the sweep ends with words and can go on."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from raydarts.runs.directory import RunDirectory
from raydarts.terminal import complain

HEAD_LOST = 5
_EVERY, _PATIENCE, _TIMEOUT = 2.0, 20.0, 5.0


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT).close()
    except OSError:
        return False
    return True


@contextmanager
def watched(run: RunDirectory, address: str | None) -> Iterator[None]:
    """While inside, end this process (exit code 5) where the head of the cluster does not answer for 20 seconds.

    Left to itself Ray would end it a minute later, in the middle of whatever it does and without a word of how to go
    on. Everything a run needs is on disk at any moment, so that nothing more is lost by ending here. A Ray of this
    process's own (`address` None) ends with it, and is not watched.
    """
    if address is None:
        yield
        return
    import ray  # noqa: PLC0415 - after the environment

    host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
    done = threading.Event()
    threading.Thread(target=_watch, args=(run, host, int(port), done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(run: RunDirectory, host: str, port: int, done: threading.Event) -> None:
    seen = time.monotonic()
    while not done.wait(_EVERY):
        if _answers(host, port):
            seen = time.monotonic()
        elif time.monotonic() - seen > _PATIENCE:
            complain(
                f"the head of the cluster at {host}:{port} has not answered for {_PATIENCE:g} s and counts as lost; "
                f"when a cluster is up again go on with: raydarts resume {run.path} --address ADDRESS"
            )
            os._exit(HEAD_LOST)  # Ray's own threads wait for the head, and would keep an orderly end waiting
