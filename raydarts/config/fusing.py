"""How many trials of a search share a process, and which of them cannot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from raydarts.config.loader import LoadedSpec, effective_key
from raydarts.config.seeds import tries_all
from raydarts.config.spec import SweepSettings
from raydarts.search import fused
from raydarts.search.settings import SearchSettings

MOST = 8
"""Trials in one process at most under `auto`. Each further one needs memory and saves less (docs/benchmarks.md)."""


def lanes_of(loaded: LoadedSpec, trials: int, places: int, *, that_fit: bool = True) -> int:
    """How many of a search's trials share a process at most. There are `places` processes.

    No more share one than have like structure. `that_fit`: no more than fit into memory, as far as it was counted.
    """
    lanes = min(spread(loaded.sweep, trials, places), largest_group(loaded, trials))
    return lanes if loaded.most_lanes is None or not that_fit else max(1, min(lanes, loaded.most_lanes))


def spread(sweep: SweepSettings, trials: int, places: int) -> int:
    """How many of `trials` that are all alike share a process at most.

    `auto` lets no process wait for the sake of fuller groups.
    """
    fuse = sweep.fuse
    if fuse == "off" or trials <= 0 or (fuse == "auto" and _shares_a_gpu(sweep)):
        return 1
    at_a_time = trials_at_a_time(sweep, trials)
    lanes = min(MOST, math.ceil(at_a_time / places)) if fuse == "auto" else min(fuse, at_a_time)
    return max(1, lanes)


def largest_group(loaded: LoadedSpec, trials: int) -> int:
    """How many of a search's trials have like structure at most: no larger group can be made.

    It is exact where a sweep tries each configuration once. Else chance decides how many are alike.
    """
    configurations = {effective_key(settings): settings for settings in loaded.drawn}.values()
    fusable = [settings for settings in configurations if not fused.unfusable(settings)]
    if not fusable:
        return 1
    each = loaded.sweep.trials_each
    if tries_all(loaded.sweep.searcher) and len(configurations) * each == trials:
        return each * max(Counter(map(fused.structure, fusable)).values())
    return max(1, trials)


def trials_at_a_time(sweep: SweepSettings, trials: int) -> int:
    """How many of a sweep's trials may run at a time, however many fit."""
    return trials if sweep.max_concurrent is None else min(trials, sweep.max_concurrent)


def _shares_a_gpu(sweep: SweepSettings) -> bool:
    """A share of a GPU says how much of its memory one trial needs. Several in one process need more, and would take it
    from the other processes on the same GPU."""
    return 0 < sweep.resources.gpus < 1


def reasons(loaded: LoadedSpec) -> list[str]:
    """Why trials run alone: a sentence for each reason."""
    sweep, drawn = loaded.sweep, loaded.drawn
    if sweep.fuse == "off":
        return []
    if sweep.fuse == "auto" and _shares_a_gpu(sweep):
        share = sweep.resources.gpus
        return [
            f"all configurations run alone: sweep.resources.gpus is {share:g}, the share of one trial; to fuse them "
            "write gpus: 1, or how many such a share has memory for, sweep.fuse: 4"
        ]
    return _counted("run alone", [fused.unfusable(settings) for settings in drawn])


def without_graph(sweep: SweepSettings, drawn: Sequence[SearchSettings]) -> list[str]:
    """Why configurations run without a CUDA graph where they could have one: a sentence for each reason."""
    asking = (True, "auto") if sweep.resources.gpus > 0 else (True,)
    return _counted(
        "run without",
        [fused.ungraphable(settings) if settings.cuda_graph in asking else [] for settings in drawn],
    )


def _counted(what: str, reasons_of_each: Sequence[Sequence[str]]) -> list[str]:
    counts = Counter(reason for each in reasons_of_each for reason in each)
    return [
        f"{'all' if count == len(reasons_of_each) else 'some'} configurations {what}: {reason}"
        for reason, count in counts.items()
    ]
