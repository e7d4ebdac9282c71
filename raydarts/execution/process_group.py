"""How the workers of one evaluation are joined: they listen on the node's own address alone.

Ray Train would leave that to torch, whose store listens on every network interface of the machine, and asks nobody who
they are. Of a local Ray the node's own address is 127.0.0.1.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import timedelta
from typing import Any

import psutil
import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend
from torch.distributed import TCPStore  # type: ignore[attr-defined] # not listed as exported


class OwnAddressConfig(TorchConfig):
    """Ray Train's configuration, with the backend below."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _OwnAddressBackend


class _OwnAddressBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:  # type: ignore[override] # as its parent
        count, seconds = len(worker_group), backend_config.timeout_s
        worker_group.execute(_set_torch_distributed_env_vars)
        host, port = worker_group.execute_single(0, serve, count, seconds)
        joined = [
            worker_group.execute_single_async(rank, join, backend_config.backend, rank, count, host, port, seconds)
            for rank in range(count)
        ]
        ray.get(joined)


class _Served:
    """The store of the first worker, which lives as long as its process."""

    store: TCPStore | None = None


def serve(count: int, seconds: float) -> tuple[str, int]:
    """Run in the first worker: open the store at which all meet. Returns its address."""
    host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    port = int(listening.getsockname()[1])
    limit = timedelta(seconds=seconds)
    _Served.store = TCPStore(host, port, count, True, limit, False, master_listen_fd=listening.detach())
    return host, port


def join(backend: str, rank: int, count: int, host: str, port: int, seconds: float) -> None:
    """Run in each worker."""
    if ipaddress.ip_address(host).is_loopback:
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ[name] = _interface(host)
    limit = timedelta(seconds=seconds)
    store = _Served.store if rank == 0 else TCPStore(host, port, count, False, limit)
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")  # as Ray Train has it: end where a partner is lost
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=limit)


def _interface(host: str) -> str:
    """The network interface that has an address."""
    return next(name for name, parts in psutil.net_if_addrs().items() if any(part.address == host for part in parts))
