"""Whether what a spec asks for can ever be given. Asked before anything is made or started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from raydarts.cluster.connection import capacity
from raydarts.config.fusing import lanes_of
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import search_trials
from raydarts.config.spec import Resources
from raydarts.cpus import cpus as cpus_of_process
from raydarts.errors import ResourceError
from raydarts.study.stages import SEARCH


def check_resources(loaded: LoadedSpec, address: str | None = None, only: str | None = None) -> dict[str, float]:
    """Raise `ResourceError` where one trial needs more than there is. Returns what there is.

    `only`: the one stage that is run.
    """
    available = capacity(address)
    where = "this machine" if address is None else f"the cluster at {address}"
    problems = []
    for stage, resources in _by_section(loaded, only).items():
        for key, name, unit, amount in _asked(resources):
            asked, there = amount * resources.processes, available.get(name, 0.0)
            if asked > there:
                less = f"lower {stage}.resources.{key} to at most {there / resources.processes:g}, or " if there else ""
                problems.append(
                    f"{stage}.resources.{key}: {asked:g} {unit} asked for each trial{_by(resources)}, but {where} has "
                    f"{there:g}{_why(name, address)}; {less}connect to a larger cluster with --address"
                )
    if problems and address is None and loaded.text:  # a run that goes on has no text of a spec
        problems.append(f"to try it here first, at tiny scale and in minutes: raydarts sweep {loaded.file} --rehearse")
    if problems:
        raise ResourceError("\n".join(problems))
    return available


def _by_section(loaded: LoadedSpec, only: str | None) -> dict[str, Resources]:
    """What a trial of each stage is given, by the section of the spec that says it."""
    stages = {"sweep": loaded.sweep.resources} if only in (None, SEARCH) else {}
    chain = loaded.stages.chain()
    return stages | {stage.section: stage.settings.resources for stage in chain if only in (None, stage.name)}


def _why(name: str, address: str | None) -> str:
    """Why this process has fewer CPUs than the machine."""
    allowed = cpus_of_process()
    limited = name == "cpus" and address is None and allowed.usable < allowed.there
    return f" for this process: {allowed}" if limited else ""


@dataclass(frozen=True)
class Here:
    """What a sweep on this machine has, and how many trials of each section run at a time (0: one does not fit)."""

    cpus: int
    gpus: int
    at_a_time: dict[str, int]
    idle: tuple[str, ...] = ()
    """Settings that do nothing on this machine."""
    lanes: int = 1
    """How many search trials share a process at most."""

    def lines(self) -> list[str]:
        """All of it for people."""
        return [str(self), *(f"does nothing: {why}" for why in self.idle)]

    def __str__(self) -> str:
        gpus = f"{self.gpus} GPU{'s' * (self.gpus != 1)}"
        shared = {"sweep": f" (up to {self.lanes} in a process)"} if self.lanes > 1 else {}
        stages = ", ".join(
            f"{name} {many or 'none, as one does not fit'}{shared.get(name, '')}"
            for name, many in self.at_a_time.items()
        )
        return f"this machine: {cpus_of_process()}, {gpus}; trials at a time: {stages}"


def at_a_time(loaded: LoadedSpec, available: Mapping[str, float], only: str | None = None) -> dict[str, int]:
    """How many trials of each section of the spec run at a time, fused ones counted one by one; 0: one does not fit."""
    many = {}
    for section, resources in _by_section(loaded, only).items():
        limit = loaded.sweep.max_concurrent if section == "sweep" else None
        fits = all(each[3] * resources.processes <= available.get(each[1], 0.0) for each in _asked(resources))
        many[section] = concurrency(resources, limit, available) if fits else 0
        if section == "sweep" and fits:
            many[section] = _fused(loaded, many[section])[1]
    return many


def here(loaded: LoadedSpec, only: str | None = None) -> Here:
    """What there is for a sweep without `--address`."""
    available = capacity()
    many, idle, lanes = at_a_time(loaded, available, only), [], 1
    for section, resources in _by_section(loaded, only).items():
        limit = loaded.sweep.max_concurrent if section == "sweep" else None
        if section == "sweep" and many[section]:
            lanes = _fused(loaded, concurrency(resources, limit, available))[0]
        if limit is not None and 0 < many[section] < limit:
            more = f"{section}.max_concurrent is {limit}, and no more than {many[section]} trials fit on this machine"
            idle.append(f"{more}; lower {section}.resources, or write max_concurrent: {many[section]}, or leave it out")
    return Here(int(available["cpus"]), int(available["gpus"]), many, tuple(idle), lanes)


def _fused(loaded: LoadedSpec, processes: int) -> tuple[int, int]:
    """How many search trials share a process at most, and how many run at a time in all processes."""
    sweep, trials = loaded.sweep, search_trials(loaded)
    lanes = lanes_of(loaded, trials, processes)
    return lanes, processes if lanes == 1 else min(trials, lanes * processes, sweep.max_concurrent or trials)


def _asked(resources: Resources) -> list[tuple[str, str, str, float]]:
    """Each resource's key in the spec, its name in `capacity`, how it is called, and how much a process is given."""
    common = [("cpus", "cpus", "CPU(s)", resources.cpus), ("gpus", "gpus", "GPU(s)", resources.gpus)]
    return common + [(f"custom.{name}", name, name, amount) for name, amount in resources.custom.items()]


def _by(resources: Resources) -> str:
    return f" ({resources.processes} workers)" if resources.processes > 1 else ""


def concurrency(resources: Resources, limit: int | None, available: Mapping[str, float]) -> int:
    """How many trials run at a time: as many as fit, or fewer where the spec says so."""
    fits = min(
        math.floor(available.get(name, 0.0) / (amount * resources.processes) + 1e-9)
        for _, name, _, amount in _asked(resources)
        if amount > 0
    )
    if 0 < resources.gpus < 1:  # a share is of one GPU, whatever is left of the others, and of one process
        by_gpu = math.floor(available["gpus"]) * math.floor(1 / resources.gpus + 1e-9)
        fits = min(fits, by_gpu)
    return max(1, fits if limit is None else min(limit, fits))
