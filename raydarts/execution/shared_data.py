"""One copy of the data on each node, in Ray's object store, for all trials there.

Without `--address` the driver loads the data and puts them there (`DriversData`). On a cluster the files may lie on the
nodes alone, and nodes come and go. So a task on each node loads them when a trial there asks first (`NodesData`). A
trial's process maps that memory and loads nothing. The arrays are read-only.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raydarts import outside
from raydarts.errors import DataError
from raydarts.study.costs import bytes_in_words

if TYPE_CHECKING:
    from raydarts.data.settings import DataSettings
    from raydarts.data.shared import SharedData
    from raydarts.data.splits import AnySplits

logger = logging.getLogger("raydarts")

SHARE = 0.3
"""The largest share of a node's object store that the data of a sweep may take."""

_ALONE = "each process loads them for itself"


@dataclass(frozen=True)
class DriversCopy:
    """Data that the driver has put into the object store. Ray brings them to a node when a trial there asks first."""

    reference: Any

    def take(self) -> SharedData:
        import ray  # noqa: PLC0415 - after the gate

        data: SharedData = ray.get(self.reference)
        return data


@dataclass(frozen=True)
class NodesCopy:
    """Data that are loaded on each node. `keeper`: the actor that knows them. `key`: their settings as text."""

    keeper: Any
    key: str

    def take(self) -> SharedData | str | None:
        """Returns this node's copy. A text says why there is none. None: the data cannot be shared."""
        import ray  # noqa: PLC0415

        node = ray.get_runtime_context().get_node_id()
        (reference,) = ray.get(self.keeper.on_node.remote(self.key, node))
        data: SharedData | str | None = ray.get(reference)
        return data


Copies = Mapping[str, DriversCopy | NodesCopy]
"""Where data lie, by their settings as text."""

_given: dict[str, DriversCopy | NodesCopy] = {}
"""What this process, a trial's, may take out of the object store."""


class SweepData(ABC):
    """The data of a sweep, for all its trials. `tell` is given a line for each data set."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._known: dict[str, DriversCopy | NodesCopy | None] = {}

    def of(self, settings: DataSettings) -> Copies:
        """Returns where these data lie. Empty: each process loads them for itself."""
        key = settings.model_dump_json()
        if key not in self._known:
            self._known[key] = None if settings.dataset.build().in_files else self._share(settings, key)
        copy = self._known[key]
        return {} if copy is None else {key: copy}

    @abstractmethod
    def _share(self, settings: DataSettings, key: str) -> DriversCopy | NodesCopy | None: ...


class DriversData(SweepData):
    """The driver loads the data. For a Ray on the driver's own machine."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(tell)
        self._bytes = 0

    def _share(self, settings: DataSettings, key: str) -> DriversCopy | None:
        import ray  # noqa: PLC0415

        from raydarts.data.shared import shareable, size_of_shared  # noqa: PLC0415 - loads torch
        from raydarts.data.splits import load_splits  # noqa: PLC0415

        name = f"data {settings.dataset.name}"
        try:
            splits = load_splits(settings)
        except (DataError, MemoryError) as error:  # a trial says the same, and fails by it
            self._tell(f"{name}: {_ALONE}: {error}")
            return None
        shared = shareable(splits)
        if shared is None:
            return None
        size = size_of_shared(shared)
        if reason := _too_large(size, _smallest_store(), self._bytes):
            self._tell(f"{name}: {_ALONE}: {reason}")
            return None
        self._bytes += size
        self._tell(f"{name}: one copy on each node for all trials ({bytes_in_words(size)} in Ray's object store)")
        return DriversCopy(ray.put(shared))


class NodesData(SweepData):
    """Each node loads the data once. For a cluster. `own_code`: what may be loaded from outside raydarts for it."""

    def __init__(self, tell: Callable[[str], object], own_code: Sequence[str]) -> None:
        super().__init__(tell)
        self._own_code = list(own_code)
        self._keeper: Any = None

    def _share(self, settings: DataSettings, key: str) -> NodesCopy:
        import ray  # noqa: PLC0415
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

        if self._keeper is None:
            # It ends with the driver, and so do the copies. No other node's loss ends it. It takes no CPU from trials.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            keeper = ray.remote(_Keeper).options(num_cpus=0, scheduling_strategy=here)
            self._keeper = keeper.remote(self._own_code)
        self._tell(f"data {settings.dataset.name}: one copy on each node for all trials, loaded when a trial needs it")
        return NodesCopy(self._keeper, key)


class _Keeper:
    """An actor that has each node load its copies, each once, and that keeps them."""

    def __init__(self, own_code: Sequence[str]) -> None:
        self._own_code = own_code
        self._copies: dict[str, dict[str, tuple[Any, Any]]] = {}

    def on_node(self, key: str, node: str) -> list[Any]:
        """Returns a list with the reference of a node's copy, which may still be loading."""
        import ray  # noqa: PLC0415
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

        copies = self._copies.setdefault(node, {})
        if key not in copies:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            load: Any = ray.remote(_load_on_node).options(num_cpus=0, num_returns=2, scheduling_strategy=there)
            sizes = [size for size, _ in copies.values()]  # known to Ray once those are loaded, which it waits for
            copies[key] = tuple(load.remote(key, self._own_code, *sizes))
        return [copies[key][1]]


def _load_on_node(key: str, own_code: Sequence[str], *others: int) -> tuple[int, SharedData | str | None]:
    """Loads the data of these settings. Returns their bytes and them, or 0 and why they are not shared.

    `others`: the bytes of the sweep's other copies there.
    """
    import ray  # noqa: PLC0415

    from raydarts.data.settings import DataSettings  # noqa: PLC0415 - loads torch
    from raydarts.data.shared import shareable, size_of_shared  # noqa: PLC0415
    from raydarts.data.splits import split_of  # noqa: PLC0415

    outside.restrict(own_code)
    try:
        settings = DataSettings.model_validate_json(key)
        # Not `load_splits`: this process would keep a copy that nobody needs.
        shared = shareable(split_of(settings.dataset.build().load(), settings))
    except Exception as error:  # a data set of the user's own may raise anything. A trial fails by it, and says it
        return 0, str(error) or type(error).__name__
    if shared is None:
        return 0, None
    size = size_of_shared(shared)
    here = ray.get_runtime_context().get_node_id()
    (store,) = (_store(node) for node in _nodes() if node["NodeID"] == here)
    if reason := _too_large(size, store, sum(others)):
        return 0, reason
    return size, shared


def _too_large(size: int, store: float, taken: int) -> str | None:
    """Says why data of that many bytes are not put into an object store, or returns None."""
    room = SHARE * store - taken
    if size <= room:
        return None
    left = bytes_in_words(max(room, 0))
    return f"they take {bytes_in_words(size)}, and {SHARE:.0%} of Ray's object store have {left} left"


def _nodes() -> list[dict[str, Any]]:
    import ray  # noqa: PLC0415

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _store(node: Mapping[str, Any]) -> float:
    """Returns the bytes of a node's object store."""
    return float(node["Resources"].get("object_store_memory", 0))


def _smallest_store() -> float:
    """Returns the bytes of the smallest object store of a node that runs trials."""
    return min((_store(node) for node in _nodes() if node["Resources"].get("CPU", 0) > 0), default=0.0)


def give(copies: Copies) -> None:
    """From now on this process takes these data out of the object store when a job needs them."""
    _given.clear()
    _given.update(copies)


def given() -> Copies:
    """Returns what `give` was given, for the workers of a trial."""
    return dict(_given)


def splits_for(settings: DataSettings) -> AnySplits:
    """Returns the split data of a job: out of the object store if they are there, else loaded by this process."""
    from raydarts.data.shared import take  # noqa: PLC0415 - loads torch
    from raydarts.data.splits import kept_splits, load_splits  # noqa: PLC0415

    copy = _given.get(settings.model_dump_json())
    if copy is not None and kept_splits(settings) is None:
        import ray  # noqa: PLC0415

        try:
            data = copy.take()
        except ray.exceptions.RayError as error:
            data = f"they are lost from Ray's object store ({error})"
        if isinstance(data, str):
            logger.warning("data %s: this process loads them for itself: %s", settings.dataset.name, data)
        elif data is not None:
            take(settings, data)
    return load_splits(settings)
