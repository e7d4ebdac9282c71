"""Whether what a spec asks for can ever be given. Asked before anything is made or started."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from raydarts.config.spec import Resources
from raydarts.errors import ResourceError
from raydarts.runs.stages import SEARCH
from raydarts.sweep.cluster import capacity


def check_resources(loaded: Any, address: str | None = None, only: str | None = None) -> dict[str, float]:
    """Raise `ResourceError` where one trial needs more than there is. Returns what there is.

    `only`: the one stage that is run.
    """
    available = capacity(address)
    chain = loaded.stages.chain()
    stages = {"sweep": loaded.sweep.resources} if only in (None, SEARCH) else {}
    stages |= {stage.section: stage.settings.resources for stage in chain if only in (None, stage.name)}
    where = "this machine" if address is None else f"the cluster at {address}"
    problems = []
    for stage, resources in stages.items():
        for kind, unit in (("cpus", "CPU(s)"), ("gpus", "GPU(s)")):
            asked = getattr(resources, kind) * resources.processes
            if asked > available[kind]:
                most = available[kind] / resources.processes
                problems.append(
                    f"{stage}.resources.{kind}: {asked:g} {unit} asked for each trial{_by(resources)}, but {where} has "
                    f"{available[kind]:g}; lower {stage}.resources.{kind} to at most {most:g}, "
                    "or connect to a larger cluster with --address"
                )
    if problems:
        raise ResourceError("\n".join(problems))
    return available


def _by(resources: Resources) -> str:
    return f" ({resources.processes} workers)" if resources.processes > 1 else ""


def concurrency(resources: Resources, limit: int | None, available: Mapping[str, float]) -> int:
    """How many trials run at a time: as many as fit, or fewer where the spec says so."""
    fits = math.floor(available["cpus"] / (resources.cpus * resources.processes) + 1e-9)
    if resources.gpus > 0:
        if resources.gpus < 1:
            by_gpu = math.floor(available["gpus"]) * math.floor(1 / resources.gpus + 1e-9) // resources.processes
        else:
            by_gpu = math.floor(available["gpus"] / (resources.gpus * resources.processes) + 1e-9)
        fits = min(fits, by_gpu)
    return max(1, fits if limit is None else min(limit, fits))
