"""What a run will cost: hours of each stage, as a range, out of measured epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from raydarts.study.budget import HOUR
from raydarts.study.forecast import Range

_EXACT, _SCALED = 0.2, 0.5
"""How far, as a logarithm, an hour may be off: where epochs are as in the real run, and where they were scaled."""
GPU_SIZES = (16, 24, 40, 80)
"""GiB of GPUs that are common."""
CONTEXT = 0.6
"""GiB that CUDA itself needs in each process."""
USABLE = 0.92
"""The share of a GPU's memory that trials can use: some of it is lost in holes."""


@dataclass(frozen=True)
class StageCost:
    """A stage's cost. `epochs`: how many its trials will run, early stops taken into account. `seconds`: of one.

    `cpus`, `gpus`: of each trial. `memory`: bytes a trial needs, of a GPU or in tensors; None: not known. `lanes`: so
    many trials share a process at most, and the time of its epochs. `untimed`: why larger groups of some trials have no
    time of their own.
    """

    name: str
    trials: int
    epochs: float
    seconds: float
    cpus: float
    gpus: float
    scaled: bool
    memory: float | None = None
    lanes: int = 1
    untimed: tuple[str, ...] = ()

    def hours(self, of: float) -> Range:
        """The hours of something of which each trial has so much."""
        middle, spread = self.trials_seconds * of / HOUR, _SCALED if self.scaled else _EXACT
        return Range(middle * math.exp(-spread), middle, middle * math.exp(spread))

    @property
    def trials_seconds(self) -> float:
        """The seconds of all epochs."""
        return self.epochs * self.seconds

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "cpu_hours": asdict(self.hours(self.cpus)), "gpu_hours": asdict(self.hours(self.gpus))}


def together(ranges: Sequence[Range]) -> Range:
    """The sum of ranges: their errors have the same causes."""
    return Range(*(sum(getattr(each, key) for each in ranges) for key in ("low", "middle", "high")))


def fitting(memory: float) -> dict[int, int]:
    """How many trials that need so many bytes fit on a GPU of each size."""
    return {size: max(0, int(size * USABLE // (memory / 2**30 + CONTEXT))) for size in GPU_SIZES}


def lines(costs: Sequence[StageCost], gpu: bool, memory_of_gpu: float | None = None) -> list[str]:
    """The costs for people. `gpu`: they were measured on a GPU."""
    shown = [_line(cost, gpu) for cost in costs]
    if costs:
        shown.append(f"all stages: {_all(costs, gpu)}")
    for cost in costs:
        if cost.memory is not None:
            shown.append(_memory(cost, gpu, memory_of_gpu))
    if not gpu:
        shown.append(
            "not known without a GPU: GPU-hours, and the memory that convolutions need there beside their tensors; "
            "rehearse on one, or run 'raydarts sweep --dry-run --time' there"
        )
    return shown


def _line(cost: StageCost, gpu: bool) -> str:
    what = _hours(cost.hours(cost.gpus if gpu else cost.cpus), gpu)
    scaled = ", from a smaller step than the real one" if cost.scaled else ""
    epochs = f"about {cost.epochs:,.0f} epochs of {_seconds(cost.seconds)}"
    if cost.lanes > 1:
        epochs += f" in groups of up to {cost.lanes}"
    untimed = f"; larger groups may take less: {'; '.join(cost.untimed)}" if cost.untimed else ""
    return f"{cost.name}: {cost.trials} trials, {epochs}: {what}{scaled}{untimed}"


def _all(costs: Sequence[StageCost], gpu: bool) -> str:
    return _hours(together([cost.hours(cost.gpus if gpu else cost.cpus) for cost in costs]), gpu)


def _hours(hours: Range, gpu: bool) -> str:
    unit = "GPU-hours" if gpu else "CPU-hours, measured here"
    return f"{hours.low:.3g} to {hours.high:.3g} {unit}"


def _seconds(seconds: float) -> str:
    return (
        f"{seconds:.2g} s"
        if seconds < 100
        else f"{seconds / 60:.3g} min"
        if seconds < 6000
        else f"{seconds / HOUR:.3g} h"
    )


def _memory(cost: StageCost, gpu: bool, memory_of_gpu: float | None) -> str:
    memory = cost.memory or 0.0
    size = bytes_in_words(memory)
    if gpu and memory_of_gpu is not None:
        many = max(0, int(memory_of_gpu * USABLE // (memory + CONTEXT * 2**30)))
        return f"{cost.name}: {size} of GPU memory a trial, as measured; {many} trials on a GPU like this one at most"
    sizes = ", ".join(f"{count} on {gib} GiB" for gib, count in fitting(memory).items())
    return f"{cost.name}: tensors of {size} a trial, as counted; by that at most {sizes} of GPU memory"


def bytes_in_words(number: float) -> str:
    return f"{number / 2**30:.3g} GiB" if number >= 2**30 else f"{number / 2**20:.3g} MiB"


def by_structure(seconds: Mapping[str, Sequence[float]], shares: Mapping[str, float]) -> float | None:
    """The mean seconds of an epoch, each structure with its share. A structure that was not timed counts like the mean
    of the others. None: nothing was timed.
    """
    known = {name: sum(each) / len(each) for name, each in seconds.items() if each}
    if not known:
        return None
    usual = sum(known.values()) / len(known)
    weights = shares or dict.fromkeys(known, 1.0)
    total = sum(weights.values())
    return sum(weight * known.get(name, usual) for name, weight in weights.items()) / total
