"""One copy of the data on each node, in Ray's object store, for all trials there.

The driver puts them there once. Ray brings them to another node when a trial there asks first. A trial's process maps
that memory and loads nothing. The arrays are read-only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from raydarts.errors import DataError
from raydarts.study.costs import bytes_in_words

if TYPE_CHECKING:
    from raydarts.data.settings import DataSettings
    from raydarts.data.splits import AnySplits

logger = logging.getLogger("raydarts")

SHARE = 0.3
"""The largest share of a node's object store that the data of a sweep may take."""

References = Mapping[str, Any]
"""Where data lie in the object store, by their settings as text."""

_given: dict[str, Any] = {}
"""What this process, a trial's, may take out of the object store."""


class SharedData:
    """The data that a sweep's driver has put into the object store. `tell` is given a line for each data set."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._known: dict[str, Any] = {}
        self._bytes = 0

    def of(self, settings: DataSettings) -> References:
        """Returns where these data lie. Empty: each process loads them for itself."""
        key = settings.model_dump_json()
        if key not in self._known:
            self._known[key] = self._put(settings)
        reference = self._known[key]
        return {} if reference is None else {key: reference}

    def _put(self, settings: DataSettings) -> Any:
        import ray  # noqa: PLC0415 - after the gate

        from raydarts.data.shared import shareable, size_of_shared  # noqa: PLC0415 - loads torch
        from raydarts.data.splits import load_splits  # noqa: PLC0415

        name = f"data {settings.dataset.name}"
        try:
            splits = load_splits(settings)
        except (DataError, MemoryError) as error:  # a trial says the same, and fails by it
            self._tell(f"{name}: each process loads them for itself: {error}")
            return None
        shared = shareable(splits)
        if shared is None:
            return None
        size, room = size_of_shared(shared), SHARE * _smallest_store() - self._bytes
        if size > room:
            self._tell(
                f"{name}: each process loads them for itself: they take {bytes_in_words(size)}, and "
                f"{SHARE:.0%} of Ray's object store have {bytes_in_words(max(room, 0))} left"
            )
            return None
        reference = ray.put(shared)
        self._bytes += size
        self._tell(f"{name}: one copy on each node for all trials ({bytes_in_words(size)} in Ray's object store)")
        return reference


def _smallest_store() -> float:
    """Returns the bytes of the smallest object store of a node that runs trials."""
    import ray  # noqa: PLC0415

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return min((float(node.get("object_store_memory", 0)) for node in nodes if node.get("CPU", 0) > 0), default=0.0)


def give(references: References) -> None:
    """From now on this process takes these data out of the object store when a job needs them."""
    _given.clear()
    _given.update(references)


def splits_for(settings: DataSettings) -> AnySplits:
    """Returns the split data of a job: out of the object store if they are there, else loaded by this process."""
    from raydarts.data.shared import take  # noqa: PLC0415 - loads torch
    from raydarts.data.splits import kept_splits, load_splits  # noqa: PLC0415

    reference = _given.get(settings.model_dump_json())
    if reference is not None and kept_splits(settings) is None:
        import ray  # noqa: PLC0415

        try:
            take(settings, ray.get(reference))
        except ray.exceptions.RayError as error:
            logger.warning("the data are lost from Ray's object store (%s); this process loads them", error)
    return load_splits(settings)
