"""A Ray head of one's own on loopback, with token authentication and a dashboard, as `ray start --head` makes it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raydarts.cluster.local import _SYSTEM
from tests.cluster.hosts import packages
from tests.variables import without_ray

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port where nobody listens, below those that outgoing connections take.

    One of theirs may be taken before a server binds it, even by whoever waits for that server: a connection from
    a port to itself succeeds.
    """
    while True:
        port = random.randrange(20000, 32000)
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port


@dataclass
class Head:
    """`folder` is the home of who started it, Ray's files are in `folder`/ray."""

    folder: Path
    token: str
    gcs: str
    dashboard: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Lose the head: it and all that it started are killed at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def started(self, *arguments: object) -> subprocess.Popen[str]:
        """A command that goes on meanwhile."""
        command = [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def raydarts(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "raydarts.cli", *arguments, **variables)

    def python(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


def _commands(folder: Path) -> None:
    """`raydarts` on the path of whoever starts Ray: these sources, whatever is installed."""
    folder.mkdir()
    (folder / "raydarts").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m raydarts.cli "$@"\n')
    (folder / "raydarts").chmod(0o755)


@contextmanager
def started_head(variables: Mapping[str, str]) -> Iterator[Head]:
    """Start it with these further variables in its environment; take everything away again at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rd", dir="/tmp"))  # short: sockets' paths are at most 107 bytes
    token = secrets.token_hex(32)
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text(token)
    (folder / ".ray" / "auth_token").chmod(0o600)
    _commands(folder / "bin")
    environment = without_ray("WANDB_", "AWS_") | {
        "HOME": str(folder),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *packages()]),
        "OMP_NUM_THREADS": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback alone
    }
    gcs, dashboard = free_port(), free_port()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--temp-dir={folder / 'ray'}", "--object-store-memory=100000000", "--dashboard-agent-listen-port=0"]
    command += [f"--system-config={json.dumps(_SYSTEM)}"]
    told = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", **variables}
    with (folder / "start.log").open("w") as log:
        process = subprocess.Popen(command, env=environment | told, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(process, dashboard, folder / "start.log")
        yield Head(folder, token, f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", environment, process)
    finally:
        process.terminate()  # it ends what it started
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text())
        time.sleep(0.2)
