"""A Ray of this process' own, on loopback: its start, which ends with words where it fails, and its end."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from raydarts.errors import ClusterError
from raydarts.runs.place import Place
from raydarts.sweep import ray_logs
from raydarts.sweep.authentication import make_token, use_token_of_session
from raydarts.sweep.leftovers import Leftovers
from raydarts.sweep.session import Folder, make_folder

START_SECONDS = 60.0
_END_SECONDS = 10.0
_LINGERING = 3.0


class LocalRay:
    """Its folder and its processes: all that `end` has to take away."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._leftovers = Leftovers()
        self._before = set(psutil.Process().children())
        self._variables = {name: os.environ.get(name) for name in ("RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH")}
        os.environ["RAY_TMPDIR"] = str(folder.path)  # locks and such, which Ray lays beside its folder

    def started(self) -> None:
        """Ray runs: were this process killed now, its processes would end too."""
        self._leftovers.started()

    @property
    def session(self) -> Path:
        """Ray's own folder in ours."""
        return self._folder.path / "session_latest"

    def processes(self) -> list[psutil.Process]:
        """All that was started since, except what is no part of Ray (such as the sender of a tracker)."""
        try:
            roots = [child for child in psutil.Process().children() if child not in self._before]
        except psutil.Error:
            return []
        return [process for root in roots for process in _with_descendants(root) if _is_ray(process)]

    def end(self, ray: ModuleType | None, run: Place | None = None) -> None:
        """Take everything away. `ray`: shut it down in order first. `run`: keeps its workers' error output."""
        processes = self.processes()
        try:
            if ray is not None:
                ray.shutdown()
            _, alive = psutil.wait_procs(processes, timeout=_END_SECONDS if ray is not None else 0)
            for process in alive:
                _kill(process)
            psutil.wait_procs(alive, timeout=_LINGERING)
            if run is not None:
                ray_logs.keep(self.session, run)
        finally:
            self._leftovers.close()
            self._folder.remove()
            for name, value in self._variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def start(ray: ModuleType, options: Mapping[str, Any]) -> LocalRay:
    """Start it. Raises `ClusterError` where that fails, and leaves nothing behind then. It may take a minute."""
    _check_loopback()
    folder = make_folder()
    made = LocalRay(folder)
    try:
        _use_token(folder.path)
        with _limited(made):
            ray.init(address="local", include_dashboard=False, _temp_dir=str(folder.path), **options)
        made.started()
    except BaseException as error:
        told = _reason(error, made.session)
        made.end(ray if ray.is_initialized() else None)
        if isinstance(error, ClusterError) or not isinstance(error, Exception):
            raise
        raise ClusterError(told) from error
    if folder.note is not None:
        sys.stderr.write(f"{folder.note}\n")
    return made


def _use_token(folder: Path) -> None:
    """The user's token, or where the home directory takes none, one that is this session's alone."""
    try:
        make_token()
    except ClusterError:
        use_token_of_session(folder)


def _check_loopback() -> None:
    """Raise `ClusterError` where processes of this machine cannot reach each other: Ray would wait for minutes."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise ClusterError(
            f"a local Ray cannot start: a connection from this machine to itself (127.0.0.1) fails: {error}. "
            "Ray's processes talk over it; bring the network interface 'lo' up, and let no firewall block it"
        ) from error


@contextmanager
def _limited(made: LocalRay) -> Iterator[None]:
    """End the process (exit code 2) where Ray takes too long: it waits in C++, where no exception reaches it."""

    def give_up() -> None:
        lines = "".join(f"\n  {line}" for line in ray_logs.of_servers(made.session))
        try:
            made.end(None)
        finally:
            sys.stderr.write(f"a local Ray did not start within {START_SECONDS:g} s{lines}\n")
            sys.stderr.flush()
            os._exit(2)

    timer = threading.Timer(START_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _reason(error: BaseException, session: Path) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    lines = "".join(f"\n  {line}" for line in ray_logs.of_servers(session))
    return f"a local Ray cannot start: {said}{lines}"


def _with_descendants(root: psutil.Process) -> list[psutil.Process]:
    try:
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _is_ray(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return any(part.startswith("ray::") or "/ray/" in part or "/raylet" in part for part in command[:4])


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()
