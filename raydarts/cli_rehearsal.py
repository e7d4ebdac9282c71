"""`raydarts sweep SPEC --rehearse` and `--dry-run --time`: a sweep tried before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from raydarts.errors import InputError
from raydarts.loading import loading
from raydarts.terminal import console, say

if TYPE_CHECKING:
    from raydarts.config.loader import LoadedSpec
    from raydarts.storage.place import Place


def check(
    address: str | None, stage: str | None, genotypes: Sequence[object] | None, dry_run: bool, time_steps: bool
) -> None:
    """Refuse what a rehearsal makes no use of."""
    if address is not None:
        raise InputError("--rehearse runs on this machine: leave --address out, or rehearse on a node of the cluster")
    if stage is not None or genotypes:
        raise InputError("--rehearse goes through every stage: leave --stage and --genotypes out")
    if dry_run or time_steps:
        raise InputError("--rehearse runs, and --dry-run starts nothing: choose one of them")


def rehearse(spec: Path, sets: list[str], storage: Place, name: str | None) -> None:
    """Run a sweep at tiny scale, and say what the real one costs. Exits with the rehearsal's exit code."""
    from raydarts.cluster import gate

    gate.prepare(None)  # before the spec's own modules, which may import Ray
    with loading():
        from raydarts.api import run_path
        from raydarts.cluster.connection import capacity
        from raydarts.config.loader import load_spec
        from raydarts.config.plan import plan, render
        from raydarts.config.retraining import check_inputs
        from raydarts.report.gather import gathered
        from raydarts.report.tables import summary
        from raydarts.runs.directory import RunDirectory
        from raydarts.runs.reading import Damage
        from raydarts.runs.snapshot import RunSnapshot
        from raydarts.study.costs import lines
        from raydarts.sweeping import rehearsing
        from raydarts.sweeping.runner import start_sweep

        loaded = load_spec(spec, sets, absent_data=True)
    out = console()
    say(out, [f"rehearsal of {loaded.name}: a step is timed first"])
    rehearsal, probe = rehearsing.prepare(loaded)
    tiny = rehearsal.spec
    say(out, [f"at tiny scale: {note}" for note in rehearsal.notes])
    planned = plan(tiny)
    out.print(render(replace(planned, idle=(), warnings=())))  # what acts in the real run may do nothing here
    check_inputs(tiny.stages, tiny.data, None, load=True)
    path = run_path(storage, name, tiny.name)
    code = start_sweep(
        tiny,
        path.parent,
        path.name,
        planned=[asdict(stage) for stage in planned.stages],
        rehearsal=rehearsing.description(rehearsal),
    )
    if code in (0, 1, 3):
        seen = RunSnapshot.open(path, Damage())
        out.print(summary(path, seen, gathered(seen)))
    if code in (0, 1):
        run = RunDirectory.open(path)
        loaded, of_memory = _memory(loaded)
        costs = rehearsing.costs(run, loaded, rehearsal, probe)
        rehearsing.with_costs(run, costs)
        gpu = capacity()["gpus"] > 0
        say(out, ["", f"what {loaded.name} will cost, by this rehearsal:", *lines(costs, gpu, _gpu_memory(gpu))])
        say(out, of_memory)
        say(out, [f"the rehearsal is in {path}; it is marked there, and is no result: delete it when you like"])
    raise typer.Exit(code)


def _memory(loaded: LoadedSpec) -> tuple[LoadedSpec, tuple[str, ...]]:
    """The spec, which knows then how many searches fit into a process, and what a process of the real sweep needs.

    It runs elsewhere perhaps, so that it does not fit here is no error.
    """
    from raydarts.cluster.connection import capacity
    from raydarts.errors import ResourceError
    from raydarts.sweeping import memory

    try:
        told = memory.told(loaded, capacity())
    except ResourceError as error:
        return loaded, (f"memory: here {error}",)
    return told.loaded, told.lines


def _gpu_memory(gpu: bool) -> float | None:
    if not gpu:
        return None
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None


def tell_time(loaded: LoadedSpec, stage: str | None) -> None:
    """Say what a sweep will take here, by steps that are timed now."""
    from raydarts.cluster.connection import capacity
    from raydarts.study.forecast import in_words
    from raydarts.sweeping import timing

    told = timing.told(loaded, capacity(), stage)
    say(console(), [f"timed: {each}" for each in told.lines])
    total = told.forecast.total
    say(console(), ["timed: nothing" if total is None else f"this machine would need {in_words(total)} for all of it"])
