"""What becomes of a trial whose GPU had no memory left: tried again with a larger share of a GPU, or failed by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raydarts.errors import MemoryFullError
from raydarts.runs import drive, faults
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.stages import SEARCH, data_of, place_of_section, run_of, section_of, stage_of

_DIGITS = 4  # Ray hands out GPUs in ten thousandths


def is_full(error: BaseException) -> bool:
    """Whether it is the GPU's memory that an error is about; another process may have filled it too."""
    import torch  # noqa: PLC0415 - only where trials run

    return isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error)


def share_of(trial: TrialDirectory, planned: float) -> float:
    """The share of a GPU that a trial is to be given: its stage's, or the larger one that it came to need."""
    grown = faults.shares(trial)
    return max(planned, grown[-1][1]) if grown else planned


def waits_for_more(trial: TrialDirectory) -> bool:
    """Whether a trial ended without a result only to be handed out again with a larger share."""
    entry = faults.of_this_attempt(trial, faults.GPU_MEMORY)
    return trial.result() is None and entry is not None and entry["next_gpus"] is not None


def after(trial: TrialDirectory, config: Mapping[str, Any], error: BaseException) -> dict[str, Any] | None:
    """Note the fault. Returns the result where the trial has failed by that, None where it waits for a larger share."""
    share, rule = float(config["gpus"]), config["out_of_memory"]
    tried = len(faults.shares(trial))
    may = rule is not None and tried < rule["retries"] and 0 < share < 1
    larger = min(1.0, round(share * rule["grow"], _DIGITS)) if may else None
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    faults.note(trial, faults.GPU_MEMORY, message, gpus=share, next_gpus=larger)
    if larger is not None:
        return None
    failure = MemoryFullError(f"{message} {advice(trial, share, tried, rule)}")
    failure.__cause__ = error
    return drive.fail(trial, failure)


def advice(trial: TrialDirectory, share: float, tried: int, rule: Any) -> str:
    """What to change of this trial's spec, a GPU's memory having been full at `share` of it; every setting by name."""
    place = _place(trial)
    told = f"The GPU's memory was full at a share of {share:g} GPU"
    told += f", after {tried} retries with larger shares." if tried else "."
    less = f" Lower {' or '.join(_sizes(trial))}{_mixed(trial)}"
    if not 0 < share < 1:
        return f"{told}{less}: a larger share would not help, since a process trains on one GPU."
    if rule is None:
        return (
            f"{told}{less}, raise {place}.resources.gpus so that fewer share a GPU, or let it be tried again with a "
            f"larger share: {place}.out_of_memory: {{retries: 2, grow: 2}}"
        )
    return f"{told}{less}, raise {place}.resources.gpus, or raise {place}.out_of_memory.retries or .grow"


def _spec(trial: TrialDirectory) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run_of(trial).description().get("spec") or {}
    return found


def _place(trial: TrialDirectory) -> str:
    return place_of_section(_spec(trial), stage_of(trial))


def _training(trial: TrialDirectory) -> Mapping[str, Any]:
    return section_of(_spec(trial), stage_of(trial)).get("training") or {}


def _sizes(trial: TrialDirectory) -> list[str]:
    """The settings of the trial that its memory grows with."""
    if stage_of(trial) == SEARCH:
        space, place = trial.description().get("config", {}).get("space") or {}, "search"
        network = {key: value for key, value in space.items() if key != "name"}
        within = "search.space"
    else:
        place = f"{_place(trial)}.training"
        network, within = _training(trial).get("network") or {}, f"{place}.network"
    return [f"{place}.batch_size", *(f"{within}.{key}" for key in ("channels", "layers", "units") if network.get(key))]


def _mixed(trial: TrialDirectory) -> str:
    """Mixed precision, where the training has it and does not use it."""
    off = stage_of(trial) != SEARCH and _training(trial).get("amp") == "off"
    off = off and _training(trial).get("precision") == "float32"
    return f", or set {_place(trial)}.training.amp to bfloat16" if off else ""


def advised(error: Exception, trial: TrialDirectory) -> Exception:
    """The error; of a MemoryError, which is about the machine's own memory, with what to change."""
    if not isinstance(error, MemoryError):
        return error
    place = _place(trial)
    dataset = (data_of(_spec(trial), stage_of(trial)) or {}).get("dataset") or {}
    ways = [f"lower {_sizes(trial)[0]}"]
    if isinstance(dataset, Mapping) and dataset.get("workers"):
        ways.append("lower data.dataset.workers")
    fewer = "lower sweep.max_concurrent or " if stage_of(trial) == SEARCH else ""
    ways.append(f"let fewer trials run there at a time ({fewer}raise {place}.resources.cpus)")
    full = MemoryFullError(f"the machine's memory was full: {', or '.join(ways)}")
    full.__cause__ = error
    return full
