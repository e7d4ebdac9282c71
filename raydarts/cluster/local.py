"""A Ray of this process' own, on loopback: its start, which ends with words where it fails, and its end."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from raydarts.cluster import ray_logs
from raydarts.cluster.authentication import make_token, use_token_of_session
from raydarts.cluster.deadline import Deadline, ExitTimer
from raydarts.cluster.hiding import hiding_files
from raydarts.cluster.leftovers import LATER, TO_SAY, Leftovers
from raydarts.cluster.session import Folder, make_folder
from raydarts.errors import ClusterError
from raydarts.storage.place import Place

_END_SECONDS = 5.0
_SYSTEM = {"prestart_worker_first_driver": False, "idle_worker_killing_time_threshold_ms": 60_000}
"""Ray would start workers while the driver connects, and wait for them in C++ with Python's lock held: for ever where
they cannot start. The first workers are asked for later, with a time limit (`warm_workers.py`).
Ray would also end them where no trial takes them within a second, as on a busy machine."""
_UNUSED_SERVERS = ("start_monitor", "start_log_monitor", "start_api_server")
"""Methods of Ray's node. They start an autoscaler, which has no machines to start here, a process that copies workers'
logs to the driver, which does not show them, and the dashboard's server. Ray has no setting that leaves them out. It
waits seconds for the last one, and each takes about a second of CPU while the first trials start."""


class LocalRay:
    """Its folder and its processes: all that `end` has to take away."""

    def __init__(self, folder: Folder, deadline: Deadline) -> None:
        self._folder = folder
        self._leftovers = Leftovers(folder.path, deadline.left())
        self._timer = ExitTimer(deadline.left() + LATER + TO_SAY)
        self._variables = {name: os.environ.get(name) for name in ("RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH")}
        os.environ["RAY_TMPDIR"] = str(folder.path)  # locks and such, which Ray lays beside its folder

    def started(self) -> None:
        """Ray and its first worker run: the time limit is over. Were this process killed now, they would end too."""
        self._timer.cancel()
        self._leftovers.started()

    @property
    def folder(self) -> Path:
        """The folder of this Ray."""
        return self._folder.path

    @property
    def session(self) -> Path:
        """Ray's own folder in ours."""
        return self._folder.path / "session_latest"

    def end(self, ray: ModuleType | None, run: Place | None = None) -> None:
        """Take everything away. `ray`: shut it down in order first. `run`: keeps its workers' error output."""
        self._timer.cancel()
        self._leftovers.ending(0.0 if ray is None else _END_SECONDS)
        try:
            if ray is not None:
                ray.shutdown()
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


def start(ray: ModuleType, options: Mapping[str, object], deadline: Deadline) -> LocalRay:
    """Start its servers and connect. Raises `ClusterError` where that fails, and leaves nothing behind then.

    Where the deadline passes before `LocalRay.started` is called, the process ends with exit code 2 and the reason.
    """
    _check_loopback()
    folder = make_folder()
    try:
        made = LocalRay(folder, deadline)
    except OSError as error:
        folder.remove()
        raise ClusterError(f"a local Ray cannot start: {error}") from error
    try:
        _use_token(folder.path)
        with _without_unused_servers():
            ray.init(
                address="local", include_dashboard=False, _temp_dir=str(folder.path), _system_config=_SYSTEM, **options
            )
    except BaseException as error:
        reason = _reason(error, made.session)
        made.end(ray if ray.is_initialized() else None)
        if isinstance(error, ClusterError) or not isinstance(error, Exception):
            raise
        raise ClusterError(reason) from error
    if folder.note is not None:
        sys.stderr.write(f"{folder.note}\n")
    return made


@contextmanager
def _without_unused_servers() -> Iterator[None]:
    """While inside, a Ray that is started has few servers, and its agent few modules: those of a plain install."""
    from ray._private import utils  # noqa: PLC0415 - after the gate
    from ray._private.node import Node  # noqa: PLC0415

    def nothing(node: Node, **_: object) -> None:
        """Start nothing. What Ray calls the dashboard's address stays unset, and is no text otherwise."""
        node._webui_url = ""

    def missing() -> ImportError:
        """What Ray finds where the dashboard is not installed. To look costs the driver half a second."""
        return ImportError("a local Ray has no dashboard")

    changed: dict[tuple[object, str], Callable[..., object]] = {(Node, name): nothing for name in _UNUSED_SERVERS}
    changed[utils, "get_dashboard_dependency_error"] = missing
    kept = {(place, name): getattr(place, name) for place, name in changed if hasattr(place, name)}
    for place, name in kept:
        setattr(place, name, changed[place, name])
    try:
        yield
    finally:
        for (place, name), function in kept.items():
            setattr(place, name, function)


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


def _reason(error: BaseException, session: Path) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    lines = "".join(f"\n  {line}" for line in [*ray_logs.of_start(session), *hiding_files()])
    return f"a local Ray cannot start: {said}{lines}"
