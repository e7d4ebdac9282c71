"""Memory that was full, of a GPU or of the machine: how it is known by its errors, and what of a spec to change."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from raydarts.errors import MemoryFullError
from raydarts.json_types import section
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.folders import run_of, stage_of
from raydarts.study.stages import SEARCH, data_of, place_of_section, section_of

_OF_A_GPU = (
    "CUDA error: out of memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_OF_THE_MACHINE = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")


def gpu_is_full(error: BaseException) -> bool:
    """Whether it is the GPU's memory that an error is about; another process may have filled it too."""
    import torch  # noqa: PLC0415 - only where trials run

    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OF_A_GPU)


def machine_is_full(error: BaseException) -> bool:
    """Whether it is the machine's own memory. torch says that by a RuntimeError, and the system by an OSError."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(words in str(error) for words in _OF_THE_MACHINE)


def spec_of(trial: TrialDirectory) -> Mapping[str, object]:
    return section(run_of(trial).description().get("spec"))


def place_of(trial: TrialDirectory) -> str:
    """The dotted path of the section of the spec that the trial's stage has."""
    return place_of_section(spec_of(trial), stage_of(trial))


def lower(trial: TrialDirectory) -> str:
    """What to change of a trial's spec so that its network needs less of a GPU's memory; every setting by name."""
    return f"Lower {' or '.join(_sizes(trial))}{_mixed(trial)}"


def _training(trial: TrialDirectory) -> Mapping[str, object]:
    return section(section_of(spec_of(trial), stage_of(trial)).get("training"))


def _sizes(trial: TrialDirectory) -> list[str]:
    """The settings of the trial that its memory grows with."""
    if stage_of(trial) == SEARCH:
        space, place = section(section(trial.description().get("config")).get("space")), "search"
        network = {key: value for key, value in space.items() if key != "name"}
        within = "search.space"
    else:
        place = f"{place_of(trial)}.training"
        network, within = dict(section(_training(trial).get("network"))), f"{place}.network"
    return [f"{place}.batch_size", *(f"{within}.{key}" for key in ("channels", "layers", "units") if network.get(key))]


def _mixed(trial: TrialDirectory) -> str:
    """Mixed precision, where the training has it and does not use it."""
    off = stage_of(trial) != SEARCH and _training(trial).get("amp") == "off"
    off = off and _training(trial).get("precision") == "float32"
    return f", or set {place_of(trial)}.training.amp to bfloat16" if off else ""


def _ways(trial: TrialDirectory) -> list[str]:
    """What to change so that a trial needs less of the machine's memory."""
    workers = section(section(data_of(spec_of(trial), stage_of(trial))).get("dataset")).get("workers")
    return [f"lower {_sizes(trial)[0]}", *(["lower data.dataset.workers"] if workers else [])]


def advised(error: Exception, trial: TrialDirectory) -> Exception:
    """The error; where it is about the machine's own memory, with what to change of a sweep's trial."""
    if not machine_is_full(error):
        return error
    fewer = "lower sweep.max_concurrent or " if stage_of(trial) == SEARCH else ""
    ways = [
        *_ways(trial),
        f"let fewer trials run there at a time ({fewer}raise {place_of(trial)}.resources.cpus)",
    ]
    return _caused(f"the machine's memory was full: {', or '.join(ways)}", error)


def alone(error: Exception, trial: TrialDirectory) -> MemoryFullError | None:
    """What a run of one job says where memory was full; None: the error is about something else."""
    begin = "and begin a new run, since this one keeps its spec"
    again = f"let them end, and go on with: raydarts resume {run_of(trial).path}"
    if gpu_is_full(error):
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        others = f"Or if other processes filled it (nvidia-smi lists them), {again}"
        return _caused(f"{first.rstrip('.')}. The GPU's memory was full. {lower(trial)}, {begin}. {others}", error)
    if machine_is_full(error):
        ways = f"{' or '.join(_ways(trial))}, {begin}"
        return _caused(f"the machine's memory was full: {ways}. Or if other processes filled it, {again}", error)
    return None


def _caused(message: str, error: Exception) -> MemoryFullError:
    full = MemoryFullError(message)
    full.__cause__ = error
    return full
