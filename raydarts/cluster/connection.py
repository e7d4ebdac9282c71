"""The connection to Ray: a local one on loopback, or a running cluster's."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Required, TypedDict

from raydarts import UNINSTALLED, __version__, outside
from raydarts.cluster import first_worker, local
from raydarts.cluster.authentication import admit, tighten_token
from raydarts.cluster.autoscaling import maximum
from raydarts.cluster.deadline import Deadline
from raydarts.cluster.gate import import_ray, prepare
from raydarts.cluster.warm_workers import WarmWorkers
from raydarts.cpus import usable_cpus
from raydarts.digits import whole_number
from raydarts.errors import ClusterError, StorageError
from raydarts.storage.objects import ObjectPlace
from raydarts.storage.place import Place

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from ray.job_config import JobConfig

_STORAGE_VARIABLES = ("RAYDARTS_STORAGE_RETRY_SECONDS", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION")


@dataclass
class _Connection:
    """The Ray that this process started, if it did. There is one at a time, as Ray's own connection."""

    local: local.LocalRay | None = None


_connection = _Connection()


def _own_code() -> str:
    """Where the driver finds code that is not installed, for workers to search last (`outside.py`)."""
    places = [os.getcwd() if place == "" else place for place in ["", *sys.path, *outside.own_folders()]]  # noqa: PTH109
    importable = [
        place for place in places if "site-packages" not in place and not place.startswith(sys.base_prefix + "/lib")
    ]
    return os.pathsep.join(dict.fromkeys(importable))


def _code_variables() -> dict[str, str]:
    """Where workers find code. What they search first is the user's own `PYTHONPATH`, and nothing else."""
    first = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    if __version__ == UNINSTALLED:
        first.append(str(Path(__file__).parents[2]))  # where raydarts itself is found
    named = {outside.VARIABLE: _own_code()}
    return named | {"PYTHONPATH": os.pathsep.join(first)} if first else named


class _Nowhere(list[str]):
    """A list that stays empty."""

    def extend(self, values: Iterable[str]) -> None:
        """Nothing."""


def _job_config() -> JobConfig:
    """Ray puts the driver's working folder and its script's first in the search path of every worker: not so here."""
    from ray.job_config import JobConfig  # noqa: PLC0415 - after the environment

    config = JobConfig()
    config._py_driver_sys_path = _Nowhere()
    return config


def _storage_variables() -> dict[str, str]:
    """How trials reach the storage, as the driver does. Never credentials: Ray shows and logs these variables."""
    variables = {name: os.environ[name] for name in _STORAGE_VARIABLES if name in os.environ}
    return {name: value for name, value in variables.items() if "@" not in value}


def connect(address: str | None = None, workers: WarmWorkers | None = None) -> bool:
    """Make sure that there is a connection. True: it was made here, so `disconnect` must end it.

    `workers`: what the first trials need; on a cluster one worker is asked whether it can import that. Raises
    `ClusterError` where there is no connection, or where no worker can start or import it; nothing is left then.
    """
    workers = workers or WarmWorkers()
    prepare(address)
    deadline = Deadline.begin()
    if address is not None:
        _probe(address)
    ray = import_ray(address)

    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\..*")
    keep_keys_out_of_logs()
    if ray.is_initialized():
        return False
    options: dict[str, object] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "job_config": _job_config(),
    }
    variables = {**_code_variables(), **_storage_variables()}
    if address is None:
        _say_what_is_not_used()
        # In a pod of a Ray cluster this holds what the pod has, and Ray would put it before `num_cpus`.
        os.environ.pop("RAY_OVERRIDE_RESOURCES", None)
        options |= {"num_cpus": usable_cpus(), "runtime_env": workers.runtime_environment(variables)}
        made = local.start(ray, options, deadline)
        _connection.local, session, where = made, made.session, "on this machine"
        ask = partial(workers.ask, ray, made.folder)
    else:
        try:
            context = ray.init(address=address, runtime_env={"env_vars": variables}, **options)
        except Exception as error:
            raise ClusterError(_no_connection(address, error)) from error
        session, where = Path(context.address_info.get("session_dir") or "/nowhere"), f"on the cluster at {address}"
        ask = partial(first_worker.ask_by_task, ray, workers.modules)
    try:
        tighten_token()
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        first_worker.check(ask, session, where, deadline)
        if _connection.local is not None:
            _connection.local.started()
    except BaseException:
        disconnect(True)
        raise
    return True


@contextmanager
def connected(address: str | None, workers: WarmWorkers, run: Place) -> Iterator[None]:
    """A connection that ends with the block, where it was made for it. `run`: see `disconnect`."""
    here = connect(address, workers)
    kept: Place | None = run
    try:
        yield
    except StorageError:
        kept = None
        raise
    finally:
        disconnect(here, kept)


def _say_what_is_not_used() -> None:
    address = os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "local"):
        sys.stderr.write(
            f"RAY_ADDRESS={address} is set, and not used without --address: the sweep runs on this machine alone. "
            "To run it on that cluster give --address auto\n"
        )


def _probe(address: str) -> None:
    """Raise `ClusterError` where nobody listens at host:port, or refuses: Ray itself would wait ten minutes."""
    if address == "auto" or "://" in address:
        return
    host, _, port = address.rpartition(":")
    if not host or whole_number(port) is None:
        raise ClusterError(f"--address {address}: a running Ray cluster is 'auto' or host:port (such as 10.0.0.5:6379)")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--address {address}: nobody answers there ({error}); is the cluster up?") from error
    admit(address)


def _no_connection(address: str, error: Exception) -> str:
    where = "no Ray runs on this machine, or it" if address == "auto" else "the Ray there"
    lines = str(error).strip().splitlines()
    return (
        f"--address {address}: {where} does not let this machine in (where it asks for a token: "
        f"RAY_AUTH_MODE=token and ~/.ray/auth_token): {lines[0] if lines else type(error).__name__}"
    )


def keep_keys_out_of_logs() -> None:
    """Stop Tune from copying the driver's AWS keys into each trial's runtime environment, which Ray logs in full.

    Trials find them where the driver does: in the environment of the machine that they run on.
    """
    from ray.tune.execution import class_cache  # noqa: PLC0415 - after the environment

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"):
        class_cache.ENV_VARS_TO_PROPAGATE.discard(name)


def disconnect(connected_here: bool, run: Place | None = None) -> None:
    """End the connection. A Ray of this process' own ends with it: its processes and its folder, logs included.

    `run`: the run that keeps what its workers wrote to their error output, where it was made and they wrote any.
    """
    if not connected_here:
        return
    import ray  # noqa: PLC0415 - after the gate

    made, _connection.local = _connection.local, None
    if made is None:
        ray.shutdown()
    else:
        made.end(ray, run)


def capacity(address: str | None = None) -> dict[str, float]:
    """CPUs, GPUs and custom resources: those that this process may use here, or those of the cluster at `address`.

    It connects to the cluster. Of one that grows on demand, what it may grow to.
    """
    if address is None:
        import torch  # noqa: PLC0415

        return {"cpus": float(usable_cpus()), "gpus": float(torch.cuda.device_count())}
    connect(address)
    import ray  # noqa: PLC0415

    reported = ray.cluster_resources()  # type: ignore[no-untyped-call]
    most = maximum()
    names = {"cpus": "CPU", "gpus": "GPU"}
    names |= {name: name for name in {*reported, *most} - {"CPU", "GPU", "memory", "object_store_memory"}}
    return {kind: max(float(reported.get(name, 0)), most.get(name, 0)) for kind, name in names.items()}


class RayStorage(TypedDict, total=False):
    """Where Ray keeps its files, in the words of Tune and Train."""

    storage_path: Required[str]
    storage_filesystem: FileSystem


def ray_storage(folder: Place) -> RayStorage:
    """Where Ray keeps its own files, in the words of Tune and Train; several nodes need one that all see."""
    if isinstance(folder, ObjectPlace):
        return {"storage_path": folder.key, "storage_filesystem": folder.filesystem}
    return {"storage_path": str(folder)}
