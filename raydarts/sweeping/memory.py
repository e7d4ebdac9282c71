"""The memory that the searches of a sweep need, what there is, and how many of them can share a process by that."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import psutil

from raydarts.cluster.resources import concurrency
from raydarts.config.fusing import lanes_of, trials_at_a_time
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import search_trials
from raydarts.data.base import Size, size_of
from raydarts.data.files import ImageFiles
from raydarts.data.settings import DataSettings
from raydarts.data.splits import kept_splits
from raydarts.errors import ResourceError
from raydarts.execution.shared_data import SHARE
from raydarts.free_memory import free_memory
from raydarts.measure import gpu_memory
from raydarts.search.footprint import Footprint, data_bytes, footprint
from raydarts.search.settings import SearchSettings
from raydarts.study.costs import CONTEXT, USABLE, bytes_in_words
from raydarts.study.stages import SEARCH

PROCESS = 400 * 2**20
"""Bytes of its own that a trial's process has with Python, torch and Ray, before it has a network. Measured:
`benchmarks/memory.py`."""
BESIDE = 1.35
"""A process on a CPU takes so many times the memory of its tensors: copies that convolutions work on, and holes between
what was given back. Measured: `benchmarks/memory.py`."""
USED = 0.8
"""The share of a machine's free memory that searches get. Ray ends processes where the rest is nearly full."""
_STORE = 0.3
"""The share of a machine's memory that Ray's object store has."""
_SECONDS = 4.0
"""No further structure is counted after so much of this process's CPU time."""


@dataclass(frozen=True)
class Needed:
    """What a process needs. `footprints`: of the structures that were counted, out of `structures`. `data`: bytes of
    data in each process. `once`: bytes of data that all processes of the machine have in common.
    """

    footprints: tuple[Footprint, ...]
    structures: int
    data: int
    on_a_gpu: bool
    once: int = 0

    def process(self, lanes: int) -> int:
        """Returns the bytes of a process with so many searches, of the structure that needs most."""
        tensors = max(each.group(lanes) for each in self.footprints)
        if self.on_a_gpu:
            return int(CONTEXT * 2**30) + self.data + tensors
        return PROCESS + self.data + int(BESIDE * tensors)

    @property
    def partly(self) -> str:
        """Returns words on structures that were not counted."""
        counted = len(self.footprints)
        return "" if counted == self.structures else f" (the largest {counted} of {self.structures} structures counted)"


@dataclass(frozen=True)
class Room:
    """What there is: `bytes` of a GPU for one process, or of the machine for all its processes, in `words`."""

    bytes: float
    words: str
    on_a_gpu: bool

    def holds(self, needed: Needed, lanes: int, processes: int) -> bool:
        if self.on_a_gpu:
            return needed.process(lanes) <= self.bytes
        return needed.process(lanes) * processes + needed.once <= self.bytes


@dataclass(frozen=True)
class Told:
    """The spec, which knows from now on how many searches fit into a process, and the lines to print."""

    loaded: LoadedSpec
    lines: tuple[str, ...] = ()


def told(
    loaded: LoadedSpec, available: Mapping[str, float], address: str | None = None, only: str | None = None
) -> Told:
    """Counts what the searches need, and says it. Under `fuse: auto` no more of them share a process than fit.

    `available`: what the machine has, or the cluster at `address`. `only`: the one stage that is run.

    Raises `ResourceError` if `fuse` asks for more searches in a process than fit.
    """
    if only not in (None, SEARCH):
        return Told(loaded)
    try:
        needed = count(loaded)
    except Exception as error:  # code of the user's own may refuse made-up data: the search itself says why then
        return Told(loaded, (f"memory: not counted: {str(error) or type(error).__name__}",))
    if needed is None:
        return Told(loaded, (f"memory: not counted, as the size of {loaded.data.dataset.name} is not known here",))
    return _fitted(loaded, needed, None if address is not None else _room(loaded), available)


def count(loaded: LoadedSpec) -> Needed | None:
    """Returns what the searches of a spec need. None: the size of the data is not known."""
    known = _data(loaded.data)
    if known is None:
        return None
    size, in_files = known
    used = size.train if loaded.data.limit is None else min(size.train, loaded.data.limit)
    on_a_gpu = loaded.sweep.resources.gpus > 0
    data = data_bytes(size, used, in_files=in_files, on_a_gpu=on_a_gpu)
    structures = _structures(loaded.drawn)
    end = time.process_time() + _SECONDS
    counted: list[Footprint] = []
    for settings in structures:
        if counted and time.process_time() > end:
            break
        counted.append(_footprint(settings.model_dump_json(), replace(size, train=used)))
    if on_a_gpu or in_files or data > SHARE * _STORE * psutil.virtual_memory().total:
        return Needed(tuple(counted), len(structures), data, on_a_gpu)
    return Needed(tuple(counted), len(structures), 0, on_a_gpu, once=data)


@lru_cache(maxsize=256)
def _footprint(settings: str, size: Size) -> Footprint:
    return footprint(SearchSettings.model_validate_json(settings), size)


def _data(settings: DataSettings) -> tuple[Size, bool] | None:
    """Returns what the data hold, and whether images stay in their files. It loads nothing that takes long."""
    kept = kept_splits(settings)
    if kept is not None:
        return size_of(kept.source), isinstance(kept.source, ImageFiles)
    dataset = settings.dataset.build()
    size = dataset.published()
    if size is not None:
        return size, dataset.in_files
    source = dataset.preview()
    return None if source is None else (size_of(source), dataset.in_files)


def _structures(drawn: Sequence[SearchSettings]) -> list[SearchSettings]:
    """Returns a configuration of each structure, those first that probably need most."""
    each = {_structure(settings): settings for settings in reversed(drawn)}
    return sorted(each.values(), key=_extent, reverse=True)


def _structure(settings: SearchSettings) -> str:
    """Returns what decides the memory of a search: everything but numbers that are no whole numbers, and seeds."""

    def blank(value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): blank(item) for key, item in value.items() if key not in ("seed", "epochs")}
        if isinstance(value, list | tuple):
            return [blank(item) for item in value]
        return 0 if isinstance(value, float) else value

    acting = [(each.effective() or {}).get("name") for each in (settings.estimator, *settings.regularizers)]
    return json.dumps([blank(settings.model_dump(mode="json")), acting], sort_keys=True, default=str)


def _extent(settings: SearchSettings) -> float:
    sizes = [value for value in settings.space.plain().values() if isinstance(value, int)]
    passes = {"pass": 1.0, "gradient": 2.0}.get(str(getattr(settings.estimator.member, "KEEPS", "")), 3.0)
    return settings.batch_size * math.prod(sizes) * passes


def _room(loaded: LoadedSpec) -> Room | None:
    """Returns what there is on this machine. None: it has no GPU to ask."""
    gpus = loaded.sweep.resources.gpus
    if gpus == 0:
        free = free_memory()
        words = f"{free.of} has {bytes_in_words(free.bytes)} free, of which {100 * USED:.0f} % may be used"
        return Room(USED * free.bytes, words, on_a_gpu=False)
    total = gpu_memory()
    if total is None:
        return None
    share = min(1.0, gpus)
    words = f"a GPU here has {bytes_in_words(total)}"
    words += f", of which a process may use {100 * USABLE * share:.0f} %"
    return Room(USABLE * total * share, words, on_a_gpu=True)


def _fitted(loaded: LoadedSpec, needed: Needed, room: Room | None, available: Mapping[str, float]) -> Told:
    sweep, trials = loaded.sweep, search_trials(loaded)
    places = concurrency(sweep.resources, sweep.max_concurrent, available)
    asked = lanes_of(loaded, trials, places, that_fit=False)

    def processes(lanes: int) -> int:
        return min(places, math.ceil(trials_at_a_time(sweep, trials) / lanes))

    def need(lanes: int) -> str:
        what = "a search needs" if lanes == 1 else f"{lanes} searches together need"
        return f"{what} about {bytes_in_words(needed.process(lanes))}"

    both = " and ".join([need(1), *([need(asked)] if asked > 1 else [])]) + needed.partly
    if room is None:
        return Told(loaded, (f"memory: {both}; how much there is where trials run is not known here",))

    def there(lanes: int) -> str:
        many = 1 if room.on_a_gpu else processes(lanes)
        return room.words if many == 1 else f"{room.words} by {many} processes"

    fits = next((lanes for lanes in range(asked, 0, -1) if room.holds(needed, lanes, processes(lanes))), 0)
    if fits < asked > 1 and isinstance(sweep.fuse, int):
        raise ResourceError(_too_many(asked, fits, need, there))
    if fits == asked:
        return Told(loaded, (f"memory: {both}; {there(asked)}",))
    lines = []
    if asked > 1:
        most = max(fits, 1)
        begin = f"memory: {f'up to {most}' if most > 1 else 'no'} searches share a process, not {asked}"
        lines.append(f"{begin}: {need(asked)} and {need(most)}{needed.partly}; {there(most)}")
    if fits == 0:
        lines.append(f"memory: a search may not fit: {need(1)}{needed.partly}; {there(1)}. {_LESS}")
    return Told(replace(loaded, most_lanes=max(fits, 1)), tuple(lines))


_LESS = "Lower search.batch_size or the sizes of search.space, or let fewer run at a time (sweep.max_concurrent)"


def _too_many(asked: int, fits: int, need: Callable[[int], str], there: Callable[[int], str]) -> str:
    begin = f"sweep.fuse: {need(asked)}, and {there(asked)}"
    if fits > 1:
        return f"{begin}; {fits} fit at most: write fuse: {fits}, or fuse: auto"
    if fits == 1:
        return f"{begin}; one fits, and no two: write fuse: off, or fuse: auto"
    return f"{begin}; {need(1)}, which does not fit either. {_LESS}"
