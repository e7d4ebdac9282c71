"""What a cluster that grows on demand may grow to. Ray's own count holds only the machines that are up, maybe none.

Read, in this order: `RAYDARTS_CLUSTER_MAXIMUM` (such as `CPU=32,GPU=8`), where a cluster file sets it; else the file
that `ray up` leaves on the head, where jobs run (`~/ray_bootstrap_config.yaml`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from raydarts.errors import ClusterError

VARIABLE = "RAYDARTS_CLUSTER_MAXIMUM"
BOOTSTRAP = "ray_bootstrap_config.yaml"


class NodeType(TypedDict, total=False):
    """A kind of machine in a cluster file."""

    resources: Mapping[str, float]
    max_workers: int


class ClusterFile(TypedDict, total=False):
    """What is read of a cluster file (`ray up`)."""

    available_node_types: Mapping[str, NodeType]
    head_node_type: str
    max_workers: int


def maximum() -> dict[str, float]:
    """The most of each resource, by Ray's names (`CPU`, `GPU`); empty where nothing says so."""
    if value := os.environ.get(VARIABLE):
        return _parse(value)
    path = Path.home() / BOOTSTRAP
    if not path.exists():
        return {}
    from ruamel.yaml import YAML  # noqa: PLC0415 - on a head only

    config: ClusterFile | None = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return of_config(config) if isinstance(config, dict) else {}


def _parse(value: str) -> dict[str, float]:
    try:
        return {name.strip(): float(amount) for name, amount in (part.split("=") for part in value.split(","))}
    except ValueError as error:
        raise ClusterError(f"{VARIABLE}={value}: is not like CPU=32,GPU=8") from error


def of_config(config: ClusterFile) -> dict[str, float]:
    """The most that a cluster file allows: its head, and its workers up to `max_workers`, the largest first."""
    types = config.get("available_node_types") or {}
    head = config.get("head_node_type")
    limit = int(config.get("max_workers", 0))
    names = {name for kind in types.values() for name in (kind.get("resources") or {})}
    return {name: _most(types, head, limit, name) for name in names}


def _most(types: Mapping[str, NodeType], head: str | None, limit: int, name: str) -> float:
    def each(kind: str) -> float:
        return float((types[kind].get("resources") or {}).get(name, 0))

    total, left = (0.0 if head is None or head not in types else each(head)), limit
    for kind in sorted(types, key=each, reverse=True):
        count = min(left, int(types[kind].get("max_workers", 0 if kind == head else limit)))
        total, left = total + count * each(kind), left - count
    return total
