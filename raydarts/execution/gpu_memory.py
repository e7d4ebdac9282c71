"""What becomes of a trial whose GPU had no memory left: tried again with a larger share of a GPU, or failed by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raydarts.config.spec import grown
from raydarts.errors import MemoryFullError
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.memory import lower, place_of


def share_of(trial: TrialDirectory, planned: float) -> float:
    """The share of a GPU that a trial is to be given: its stage's, or the larger one that it came to need."""
    larger = faults.shares(trial)
    return max(planned, larger[-1][1]) if larger else planned


def waits_for_more(trial: TrialDirectory) -> bool:
    """Whether a trial ended without a result only to be handed out again with a larger share."""
    entry = faults.of_this_attempt(trial, faults.GPU_MEMORY)
    return trial.result() is None and entry is not None and entry["next_gpus"] is not None


def after(trial: TrialDirectory, config: Mapping[str, Any], error: BaseException) -> MemoryFullError | None:
    """Note the fault. Returns by what the trial has failed, None where it waits for a larger share."""
    share, rule = float(config["gpus"]), config["out_of_memory"]
    tried = len(faults.shares(trial))
    may = rule is not None and tried < rule["retries"] and 0 < share < 1
    larger = grown(share, rule["grow"]) if may else None
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    faults.note(trial, faults.GPU_MEMORY, message, gpus=share, next_gpus=larger)
    if larger is not None:
        return None
    failure = MemoryFullError(f"{message} {advice(trial, share, tried, rule)}")
    failure.__cause__ = error
    return failure


def advice(trial: TrialDirectory, share: float, tried: int, rule: Any) -> str:
    """What to change of this trial's spec, a GPU's memory having been full at `share` of it; every setting by name."""
    place = place_of(trial)
    full = f"The GPU's memory was full at a share of {share:g} GPU"
    full += f", after {tried} retries with larger shares." if tried else "."
    less = f" {lower(trial)}"
    if not 0 < share < 1:
        return f"{full}{less}: a larger share would not help, since a process trains on one GPU."
    if rule is None:
        return (
            f"{full}{less}, raise {place}.resources.gpus so that fewer share a GPU, or let it be tried again with a "
            f"larger share: {place}.out_of_memory: {{retries: 2, grow: 2}}"
        )
    return f"{full}{less}, raise {place}.resources.gpus, or raise {place}.out_of_memory.retries or .grow"
