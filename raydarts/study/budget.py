"""A budget: its units, what each trial of a stage costs an hour, and what a stage still needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from raydarts.json_types import number, section
from raydarts.study.stages import SEARCH, section_of

UNITS = {"gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours", "wall_hours": "wall hours"}
HOUR = 3600.0
"""In seconds."""


def settings_of(spec: Mapping[str, object], stage: str) -> Mapping[str, object]:
    """The section of a spec that says what each trial of a stage is given."""
    return section(spec.get("sweep")) if stage == SEARCH else section_of(spec, stage)


def allotted(spec: Mapping[str, object], stage: str) -> dict[str, float]:
    """The GPUs and CPUs that each trial of a stage is given."""
    workers, cpus, gpus = resources_of(spec, stage)
    return {"gpu_hours": workers * gpus, "cpu_hours": workers * cpus}


def resources_of(spec: Mapping[str, object], stage: str) -> tuple[float, float, float]:
    """Returns the workers of each trial, and the CPUs and GPUs of each worker."""
    usual: dict[str, object] = {"workers": 1, "cpus": 1, "gpus": 0}
    resources = {**usual, **section(settings_of(spec, stage).get("resources"))}
    workers, cpus, gpus = (number(resources[key]) or 0.0 for key in ("workers", "cpus", "gpus"))
    return workers, cpus, gpus


class Needed(TypedDict):
    """What a stage still needs at most."""

    stage: str
    epochs: int
    seconds_per_epoch: float | None
    gpu_hours: float | None
    cpu_hours: float | None


def needed_of(spec: Mapping[str, object], stage: str, epochs: int, seconds_per_epoch: float | None) -> Needed:
    """What a stage still needs for so many epochs. `seconds_per_epoch` None: no epoch of it was timed."""
    hours = 0.0 if epochs == 0 else None if seconds_per_epoch is None else epochs * seconds_per_epoch / HOUR
    shares = allotted(spec, stage)
    return {
        "stage": stage,
        "epochs": epochs,
        "seconds_per_epoch": seconds_per_epoch,
        "gpu_hours": None if hours is None else hours * shares["gpu_hours"],
        "cpu_hours": None if hours is None else hours * shares["cpu_hours"],
    }


class BudgetReport(TypedDict):
    """Hours by unit."""

    limits: Mapping[str, float]
    spent: Mapping[str, float]
    needed: Sequence[Needed]
