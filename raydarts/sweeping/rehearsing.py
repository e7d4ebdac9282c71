"""A rehearsal: a sweep at tiny scale, from its first stage to its last, and what the real one will cost by it."""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from raydarts.cluster.connection import capacity
from raydarts.cluster.resources import concurrency
from raydarts.config.distributions import Draw
from raydarts.config.fusing import lanes_of
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import longest, plan
from raydarts.config.rehearsal import (
    Rehearsal,
    Scale,
    configurations,
    full_signature,
    rehearsed,
    shares_of_structures,
)
from raydarts.config.rehearsal_data import real_size
from raydarts.config.retraining import data_of
from raydarts.config.spec import Resources
from raydarts.data.settings import DataSettings
from raydarts.errors import TrialError
from raydarts.evaluation.settings import TableSettings
from raydarts.execution.build import build_evaluation, build_search
from raydarts.execution.job import Job
from raydarts.execution.timing import Timed, Together, timed
from raydarts.genotype_facts import network_cost
from raydarts.genotypes.genotype import Genotype
from raydarts.json_types import section
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import retrainings
from raydarts.search import fused
from raydarts.search.footprint import footprint
from raydarts.search.random_cells import Healthy, Size, draw_cells
from raydarts.search.settings import SearchSettings
from raydarts.study.costs import StageCost, by_structure
from raydarts.study.forecast import StageState, forecast
from raydarts.study.stages import SEARCH
from raydarts.sweeping.strategy import cohorts_of

TARGET = 90.0
"""Seconds of computing that a rehearsal aims at; more where the smallest scale takes longer."""
_FEW = 2  # genotypes of a stage whose top_k is in words: `config.rehearsal` takes so many
_MORE = 4
"""Where nothing is scaled, so many times as much may be computed: with few batches, what an epoch costs once would
count too much."""
_OTHERS = 2.5
"""A structure of the space costs so much more than the first one, on average: second order, remedies with more passes.
"""
_BATCHES = (2, 16)
"""The batches by which a step is timed."""
_SLOW = 2.0
"""Seconds of an epoch at the smaller one beyond which the larger one is not timed."""
_FEW_BATCHES = 4
"""Batches of an epoch by which groups are timed."""
_LONG = 20.0
"""Seconds of such an epoch of all searches of a group, one after the other, beyond which the group is not timed."""
_GROUPS = 30.0
"""Seconds after which no further group is timed."""
_CELLS = 5
"""Random cells of which the one of middle cost stands for those that will be retrained."""
_SMALLEST = Scale(batch=2, small=True, seeds=1)
_LEVELS = (
    Scale(),
    Scale(batch=16),
    Scale(batch=4, seeds=1),
    Scale(batch=2, seeds=1),
    _SMALLEST,
)


@dataclass(frozen=True)
class Step:
    """What a step of a stage costs here: `base` seconds, and `each` for an image of its batch, or a column of text."""

    base: float
    each: float

    def epoch(self, train: int, batch: int) -> float:
        """The seconds of an epoch over so many images or tokens."""
        return train / batch * (self.base + self.each * batch)


@dataclass(frozen=True)
class Probe:
    """The first configuration and the network of each retraining stage, timed with small batches. `memory`: bytes of a
    trial at the real batch.
    """

    steps: Mapping[str, Step]
    memory: Mapping[str, float]


def prepare(loaded: LoadedSpec) -> tuple[Rehearsal, Probe]:
    """Choose the scale by timing a step, and make the spec that is rehearsed."""
    available = capacity()
    probe = probed(loaded, available)
    scale = chosen(loaded, available, probe)
    return rehearsed(loaded, available, scale, made_up_table), probe


def probed(loaded: LoadedSpec, available: Mapping[str, float]) -> Probe:
    """Time one search and one retraining of each stage, with the real networks and small batches."""
    steps, memory = {}, {}
    tiny = {
        batch: rehearsed(loaded, available, Scale(batch=batch, epochs=2, configurations=1, seeds=1), made_up_table).spec
        for batch in _BATCHES
    }
    full = SearchSettings.model_validate(next(iter(configurations(loaded, 1))).plain)
    cell = cache(partial(usual_cell, loaded))  # drawn for the first stage that needs it

    def search(spec: LoadedSpec) -> tuple[Timed, int, int]:
        settings, resources = first_configuration(spec), spec.sweep.resources
        took = timed(lambda: build_search(settings, spec.data, _device(resources)), max(1, int(resources.cpus)), _SLOW)
        return took, _count(spec.data), settings.batch_size

    steps[SEARCH], took, batch = _step(tiny, search)
    if took.peak is None:
        memory[SEARCH] = float(footprint(full, real_size(loaded.data)[0]).alone)
    else:
        memory[SEARCH] = _memory(took, full.batch_size / batch, 3 if full.estimator.name == "first_order" else 5)
    for number, real in enumerate(loaded.stages.chain()):
        if real.settings.table is not None:
            continue

        def retraining(spec: LoadedSpec, number: int = number) -> tuple[Timed, int, int]:
            stage = spec.stages.chain()[number]
            settings, data, resources = stage.settings, data_of(stage, spec.data), stage.settings.resources

            def build() -> Job:
                return build_evaluation(settings, data, cell(), 0, _device(resources))

            return timed(build, max(1, int(resources.cpus)), _SLOW), _count(data), settings.training.batch_size

        steps[real.name], took, batch = _step(tiny, retraining)
        share = real.settings.training.batch_size / real.settings.resources.processes / batch
        memory[real.name] = _memory(took, share, 3)
    return Probe(steps, memory)


def _step(
    tiny: Mapping[int, LoadedSpec], time_it: Callable[[LoadedSpec], tuple[Timed, int, int]]
) -> tuple[Step, Timed, int]:
    """A step's cost, by two sizes of a batch; by one where a step is slow. Returns the last of them too."""
    took, count, batch = time_it(tiny[_BATCHES[0]])
    first = took.seconds * batch / count
    if took.seconds > _SLOW:
        return Step(0.0, first / batch), took, batch
    larger, count, many = time_it(tiny[_BATCHES[1]])
    second = larger.seconds * many / count
    if many == batch:
        return Step(0.0, second / many), larger, many
    each = max((second - first) / (many - batch), 0.0)
    return Step(max(second - each * many, 0.0), each), larger, many


def first_configuration(spec: LoadedSpec) -> SearchSettings:
    """The first configuration of a space."""
    draw = spec.search.materialise(None if spec.search.is_constant else _First())
    return SearchSettings.model_validate(draw.plain)


def usual_cell(loaded: LoadedSpec) -> Genotype:
    """Returns what retrainings are timed with: of a few healthy random cells the one whose FLOPs are in the middle."""
    space = first_configuration(loaded).space.build()

    def drawn(healthy: Healthy) -> list[Genotype]:
        return draw_cells([Size(space)], _CELLS, loaded.sweep.seed, healthy, set())

    cells = drawn(Healthy.of(loaded.sweep.score, None)) or drawn(Healthy((), (), None))
    return sorted(cells, key=lambda cell: network_cost(space, cell)[1])[len(cells) // 2]


def _device(resources: Resources) -> str:
    return "cuda" if resources.gpus > 0 else "cpu"


class _First:
    """Chooses the first option of everything."""

    def choose(self, name: str, distribution: object) -> int | float:
        return 0


def _memory(took: Timed, batches: float, copies: int) -> float:
    """The bytes of a trial at the real batch, if they grow with the batch: copies of the weights (their gradient, the
    momentum, those of a virtual step), and what a step keeps for its backward pass.
    """
    if took.peak is not None:
        return took.weights * copies + max(took.peak - took.weights * copies, 0) * batches
    return took.weights * copies + took.kept * batches


def _count(data: DataSettings) -> int:
    return int(data.dataset.settings.train)


def chosen(loaded: LoadedSpec, available: Mapping[str, float], probe: Probe) -> Scale:
    """The largest scale whose epochs take no longer than `TARGET` together. On a quick machine more batches are run."""
    for level in _LEVELS:
        tiny = rehearsed(loaded, available, level, made_up_table)
        if level is _SMALLEST or _together(tiny, probe) <= TARGET:
            break
    if level is not _LEVELS[0]:
        return level
    best = level
    for batches in (4, 8, 16, 32, 64):
        more = Scale(batches=batches, epochs=2, configurations=6, seeds=3)
        if _together(rehearsed(loaded, available, more, made_up_table), probe) > _MORE * TARGET:
            break
        best = more
    return best


def _together(tiny: Rehearsal, probe: Probe) -> float:
    """The seconds that a rehearsal will probably compute."""
    spec = tiny.spec
    options = [SearchSettings.model_validate(draw.plain) for draw in configurations(spec, 10**6)]
    each = [option.total_epochs * probe.steps[SEARCH].epoch(_count(spec.data), option.batch_size) for option in options]
    total = spec.sweep.trials_each * (each[0] + _OTHERS * sum(each[1:]))
    for stage in spec.stages.chain():
        if stage.name in probe.steps:
            settings, train = stage.settings, _count(data_of(stage, spec.data))
            epoch = probe.steps[stage.name].epoch(train, settings.training.batch_size)
            taken = settings.top_k if isinstance(settings.top_k, int) else _FEW
            total += taken * len(settings.seeds) * settings.epochs * epoch
    return total


def made_up_table(table: Mapping[str, object]) -> str:
    """A table of all cells of NAS-Bench-201 with made-up accuracies, where the real one is absent. Returns its file."""
    settings = TableSettings.model_validate(table)
    if Path(settings.file).is_file():
        return settings.file
    file = Path(tempfile.gettempdir()) / f"raydarts-rehearsal-table-{os.getuid()}" / "made-up.csv"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    if file.parent.stat().st_uid != os.getuid():
        file = Path(tempfile.mkdtemp()) / "made-up.csv"
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    with file.open("w", newline="", encoding="utf-8") as text:
        rows = csv.writer(text)
        rows.writerow(settings.columns())
        most = 100 if settings.unit == "percent" else 1
        for a, b, c, d, e, f in itertools.product(names, repeat=6):
            cell = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
            share = hashlib.blake2b(cell.encode(), digest_size=2).digest()
            rows.writerow([cell, *(round(most * (0.5 + int.from_bytes(share) / 2**18), 4),) * 2])
    return str(file)


def costs(run: RunDirectory, loaded: LoadedSpec, rehearsal: Rehearsal, probe: Probe) -> list[StageCost]:
    """What each stage of the real run will cost, by the epochs that the rehearsal ran."""
    tiny, scale = rehearsal.spec, rehearsal.scale
    sections = {SEARCH: tiny.sweep, **{stage.name: stage.settings for stage in tiny.stages.chain()}}
    cohorts = cohorts_of(loaded.sweep, loaded.search, longest(loaded.search))
    together = []
    for stage in plan(loaded).stages:
        shares = shares_of_structures(loaded) if stage.name == SEARCH else {}
        epochs, lanes, untimed = _Grouped(_epochs(run, stage.name))
        if stage.name == SEARCH:
            short = replace(scale, batches=min(scale.batches, _FEW_BATCHES), epochs=2)
            timed_by = rehearsed(loaded, capacity(), short, made_up_table).spec
            epochs, lanes, untimed = _in_groups(loaded, timed_by, epochs, shares, stage.jobs)
        mean = by_structure({name: [each.seconds for each in many] for name, many in epochs.items()}, shares)
        if mean is None:
            continue
        state = StageState(stage.name, stage.jobs, stage.epochs, cohorts=cohorts if stage.name == SEARCH else ())
        cpus, gpus = sections[stage.name].resources.in_all
        table = stage.name in {each.name for each in loaded.stages.chain() if each.settings.table is not None}
        together.append(
            StageCost(
                stage.name,
                stage.jobs,
                forecast([state]).epochs[stage.name],
                mean * (1.0 if table else rehearsal.factors[stage.name]),
                cpus,
                gpus,
                scale.batch is not None,
                probe.memory.get(stage.name),
                lanes,
                untimed,
            )
        )
    return together


@dataclass(frozen=True)
class _Epoch:
    """The last epoch of a trial: its `seconds`. `lanes` trials ran together in it and share its time."""

    seconds: float
    lanes: int


class _Grouped(NamedTuple):
    """Epochs by structure, the size of the largest group that they ran in, and why larger ones were not timed."""

    epochs: dict[str, list[_Epoch]]
    lanes: int = 1
    untimed: tuple[str, ...] = ()


def _epochs(run: RunDirectory, stage: str) -> dict[str, list[_Epoch]]:
    """The last epoch of each trial, by structure."""
    structures: dict[str, list[_Epoch]] = {}
    for trial in run.trials() if stage == SEARCH else retrainings(run, stage):
        times = trial.times()
        if times:
            last, lanes = times[-1], int(times[-1].get("lanes", 1))
            epoch = _Epoch((float(last["end"]) - float(last["start"])) / lanes, lanes)
            config = section(trial.description().get("config"))
            structures.setdefault(full_signature(config) if stage == SEARCH else "", []).append(epoch)
    return structures


def _in_groups(
    loaded: LoadedSpec, tiny: LoadedSpec, alone: Mapping[str, list[_Epoch]], shares: Mapping[str, float], trials: int
) -> _Grouped:
    """Returns the same epochs in groups as large as the real run makes them here.

    A rehearsal has few trials, so few of them share a process. What a larger group saves is timed on the data of
    `tiny`, with a configuration of each structure that a group can have. Not timed is a group whose searches alone take
    over `_LONG` (large networks save little on a CPU), and what is left after `_GROUPS` seconds.
    """
    sweep = tiny.sweep
    places = concurrency(sweep.resources, sweep.max_concurrent, capacity())
    most = lanes_of(loaded, trials, places)
    known = ({name: each for name, each in kind.items() if name in alone} for kind in kinds_of(configurations(tiny, 0)))
    kinds = [kind for kind in known if kind]
    epochs, untimed, end = dict(alone), Counter[str](), time.monotonic() + _GROUPS
    for members in kinds:
        before = max(epoch.lanes for name in members for epoch in alone[name])
        lanes = min(most, alike(members, shares, trials))
        if lanes <= before:
            continue
        if time.monotonic() > end:
            untimed[f"timing others took over {_GROUPS:.0f} s"] += 1
            continue
        settings = next(iter(members.values()))
        try:
            seconds = _share_of_time(settings, tiny, before)
            if lanes * seconds >= _LONG:
                untimed[f"their {_FEW_BATCHES} batches take over {_LONG:.0f} s"] += 1
                continue
            saved = _share_of_time(settings, tiny, lanes) / seconds
        except TrialError as error:  # the time of the rehearsal's own epochs counts
            untimed[str(error)] += 1
            continue
        epochs |= {name: [_Epoch(each.seconds * saved, lanes) for each in alone[name]] for name in members}
    largest = max((epoch.lanes for each in epochs.values() for epoch in each), default=1)
    reasons = (f"{count} of {len(kinds)} kinds of groups not timed ({why})" for why, count in untimed.items())
    return _Grouped(epochs, largest, tuple(reasons))


Kind = Mapping[str, SearchSettings]
"""Configurations that can share a process, by the signature of their structure."""


def kinds_of(draws: Sequence[Draw]) -> list[Kind]:
    """Returns the draws that can share a process with others, in groups of those that can share one."""
    kinds: dict[str, dict[str, SearchSettings]] = {}
    for draw in draws:
        settings = SearchSettings.model_validate(draw.plain)
        if not fused.unfusable(settings):
            kinds.setdefault(fused.structure(settings), {})[full_signature(draw.plain)] = settings
    return list(kinds.values())


def alike(kind: Kind, shares: Mapping[str, float], trials: int) -> int:
    """How many of so many trials of the real sweep are of this kind, and can share a process."""
    return max(1, round(trials * sum(shares.get(name, 0.0) for name in kind)))


def _share_of_time(settings: SearchSettings, tiny: LoadedSpec, lanes: int) -> float:
    """The seconds of an epoch of so many searches together, divided by their number."""
    resources = tiny.sweep.resources
    build = partial(searches_together, settings, tiny.data, _device(resources), lanes)
    return timed(build, max(1, int(resources.cpus))).seconds / lanes


def searches_together(settings: SearchSettings, data: DataSettings, device: str, lanes: int) -> Job | Together:
    """Builds so many searches as one job. They differ in their seeds. One of them is a search as it is."""
    searches = [build_search(settings.model_copy(update={"seed": seed}), data, device) for seed in range(lanes)]
    return searches[0] if lanes == 1 else Together(searches)


def description(rehearsal: Rehearsal) -> dict[str, object]:
    """What run.json says of a rehearsal."""
    return {"notes": list(rehearsal.notes), "scale": asdict(rehearsal.scale)}


def with_costs(run: RunDirectory, of: Sequence[StageCost]) -> None:
    """Keep the costs beside the run."""
    with run.locked():
        run.write("rehearsal.json", [cost.to_json() for cost in of])
