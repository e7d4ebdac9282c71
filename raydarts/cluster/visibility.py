"""Whether every node of a cluster sees the place where a run is to lie, asked before anything is made."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from raydarts.cluster.deadline import limit
from raydarts.cluster.gate import is_connected
from raydarts.errors import RunError, StorageError
from raydarts.runs.directory import TrialDirectory
from raydarts.storage.place import Place, delete, entries, exists, make_folder, place_of, write_bytes

_LOOKS, _PAUSE = 4, 1.0
"""A network file system may show a new file a moment late."""
WHAT_TO_DO = (
    "every node must reach the run's storage: give --storage a folder that all nodes mount at the same path (NFS), or "
    "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, for which each node has credentials of its own"
)


def seen(place: Place) -> bool:
    """Whether it is there, now or in the next seconds."""
    for attempt in range(_LOOKS):
        if attempt:
            time.sleep(_PAUSE)
        if exists(place):
            return True
    return False


def check_trial(trial: TrialDirectory) -> None:
    """Raise `StorageError` where this node does not see a trial that the driver wrote down."""
    if not seen(trial.path / "trial.json"):
        raise StorageError(f"{trial.path} is not to be seen on node {platform.node()}: {WHAT_TO_DO}")


def check_nodes(storage: Place) -> None:
    """Write a file into `storage` and let each node that runs trials look for it and answer with one of its own.

    Raises `RunError` that names the nodes which do not see it or cannot write. A driver alone with its own node is
    asked nothing. Nodes that an autoscaler adds later are asked by `check_trial`.
    """
    if not is_connected():
        return
    import ray  # noqa: PLC0415 - after the gate

    here = ray.get_runtime_context().get_node_id()
    nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0}  # type: ignore[no-untyped-call]
    if not set(nodes) - {here}:
        return
    probe = storage / f".raydarts-probe-{uuid.uuid4().hex}"
    new = not exists(storage)
    try:
        try:
            make_folder(probe)
            write_bytes(probe / "driver", b"")
        except OSError as error:
            raise RunError(f"{storage}: cannot be written: {error.strerror or error}") from error
        problems = _ask(nodes, probe)
    finally:
        _remove(probe, storage if new else None)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise RunError(f"{storage}: not to be used from {len(problems)} of {len(nodes)} nodes:\n{listed}\n{WHAT_TO_DO}")


def _ask(nodes: Mapping[str, Mapping[str, object]], probe: Place) -> list[str]:
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    look = ray.remote(num_cpus=0, max_retries=0)(look_from_node)
    asked = {
        node: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(probe), node
        )
        for node in nodes
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit())
    problems = []
    for node, answer in asked.items():
        try:
            problem = ray.get(answer, timeout=0.1)
            if problem is None and not seen(probe / node):
                problem = "sees a file of the driver's there, but the driver does not see one of its"
        except ray.exceptions.GetTimeoutError:
            problem = f"does not answer within {limit():g} s; its workers' own words are in Ray's logs there"
        except Exception as error:  # a node without raydarts, one that went away: all are named
            problem = f"cannot be asked: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if problem is not None:
            name = nodes[node].get("NodeManagerHostname") or nodes[node].get("NodeName")
            problems.append(f"{name} ({nodes[node]['NodeManagerAddress']}, node {node[:8]}): {problem}")
    return problems


def look_from_node(probe: str, node: str) -> str | None:
    """Run on a node: None, or what is wrong there."""
    place = place_of(probe)
    try:
        if not seen(place / "driver"):
            return "does not see what the driver wrote there"
        write_bytes(place / node, b"")
    except Exception as error:  # a store's library may raise anything
        return f"cannot use it: {type(error).__name__}: {error}"
    return None


def _remove(probe: Place, made: Place | None) -> None:
    for entry in entries(probe):
        delete(entry.place)
    for folder in (probe, made):
        if isinstance(folder, Path) and folder.is_dir() and not entries(folder):
            folder.rmdir()
