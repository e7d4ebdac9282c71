"""`--dry-run --time`: a few steps of each structure and of each stage's network, and what the sweep takes by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from raydarts.cluster.resources import at_a_time, concurrency
from raydarts.config.distributions import Draw
from raydarts.config.fusing import lanes_of
from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import longest, plan
from raydarts.config.rehearsal import Rehearsal, Scale, configurations, full_signature, rehearsed, shares_of_structures
from raydarts.config.retraining import data_of
from raydarts.data.settings import DataSettings
from raydarts.execution.build import build_evaluation
from raydarts.execution.job import Job
from raydarts.execution.timing import timed
from raydarts.search.settings import SearchSettings
from raydarts.study.costs import by_structure
from raydarts.study.forecast import Forecast, StageState, forecast
from raydarts.study.stages import SEARCH
from raydarts.sweeping.rehearsing import alike, kinds_of, made_up_table, searches_together, usual_cell
from raydarts.sweeping.strategy import cohorts_of

_FAST = 0.5
"""Seconds of a tiny epoch with batches of 2 up to which an epoch of 16 real batches is timed."""
_SLOW = 6.0
"""Seconds. Where a tiny epoch with batches of 2 takes longer, batches stay that small."""


@dataclass(frozen=True)
class Told:
    """`lines`: what was timed. `forecast`: what the sweep takes."""

    lines: tuple[str, ...]
    forecast: Forecast


def told(loaded: LoadedSpec, available: Mapping[str, float], only: str | None = None) -> Told:
    """Time steps on this machine, and play through what the sweep takes here. `only`: the one stage that is run."""
    lines: list[str] = []
    seconds = dict(_timed(loaded, available, only, lines.append))
    places, trials = at_a_time(loaded, available, only), plan(loaded, only).stages
    cohorts = cohorts_of(loaded.sweep, loaded.search, longest(loaded.search))
    sections = {SEARCH: "sweep", **{stage.name: stage.section for stage in loaded.stages.chain()}}
    states = [
        StageState(
            stage.name,
            stage.jobs,
            stage.epochs,
            max(places[sections[stage.name]], 1),
            cohorts=cohorts if stage.name == SEARCH else (),
            seconds=seconds.get(stage.name),
            together=loaded.sweep.trials_each if stage.name == SEARCH else 1,
        )
        for stage in trials
    ]
    return Told(tuple(lines), forecast(states))


def _timed(
    loaded: LoadedSpec, available: Mapping[str, float], only: str | None, tell: Callable[[str], object]
) -> Iterator[tuple[str, float]]:
    """The seconds of an epoch of each stage."""
    tiny = rehearsed(loaded, available, Scale(batch=2, epochs=2, configurations=1, seeds=1), made_up_table)
    if only in (None, SEARCH):
        yield SEARCH, _search(loaded, available, tiny, tell)
    cell = cache(partial(usual_cell, loaded))  # drawn for the first stage that needs it
    stages = zip(tiny.spec.stages.chain(), loaded.stages.chain(), strict=True)
    for stage, real in stages:
        settings, name = stage.settings, stage.name
        if only not in (None, name):
            continue
        if settings.table is not None:
            yield name, 0.05
            continue
        data, factor = data_of(stage, tiny.spec.data), tiny.factors[name]
        device = "cuda" if settings.resources.gpus > 0 else "cpu"

        def build(settings: Any = settings, data: DataSettings = data, device: str = device) -> Job:
            return build_evaluation(settings, data, cell(), 0, device)

        threads = max(1, int(settings.resources.cpus))
        took = timed(build, threads).seconds
        scaled = took > _SLOW
        if not scaled:
            whole = _whole(loaded, available, took)
            at = next(each for each in whole.spec.stages.chain() if each.name == name)
            full, factor = data_of(at, whole.spec.data), whole.factors[name]
            took = timed(partial(build, at.settings, full), threads).seconds
        tell(
            f"{name}: an epoch takes about {took * factor:.3g} s{_small(scaled, 2, real.settings.training.batch_size)}"
        )
        yield name, took * factor


def _whole(loaded: LoadedSpec, available: Mapping[str, float], took: float) -> Rehearsal:
    """The spec with its own batches: the more of them, the quicker a tiny epoch was, so that no start is timed."""
    scale = Scale(batches=16 if took < _FAST else 2, epochs=2, configurations=1, seeds=1)
    return rehearsed(loaded, available, scale, made_up_table)


def _small(scaled: bool, batch: int, of: int) -> str:
    return f", from steps with batches of {batch} in place of {of}" if scaled else ""


def _search(
    loaded: LoadedSpec, available: Mapping[str, float], tiny: Rehearsal, tell: Callable[[str], object]
) -> float:
    """The seconds of an epoch of a search, each structure with its share of the sweep."""
    sweep = tiny.spec.sweep
    trials = plan(loaded).stages[0].jobs
    places = concurrency(sweep.resources, sweep.max_concurrent, available)
    draws, shares = configurations(tiny.spec, 0), shares_of_structures(loaded)
    most = lanes_of(loaded, trials, places)
    lanes = {name: min(most, alike(kind, shares, trials)) for kind in kinds_of(draws) for name in kind}
    seconds: dict[str, list[float]] = {}
    for number, draw in enumerate(draws):
        many = lanes.get(full_signature(draw.plain), 1)
        took, count, scaled = _structure(loaded, available, tiny, draw, number, many)
        together = f", {count} trials together" if count > 1 else ""
        batch = SearchSettings.model_validate(configurations(loaded, 0)[number].plain).batch_size
        what = ", ".join(_words(SearchSettings.model_validate(draw.plain)))
        tell(f"search, {what}: an epoch takes about {took:.3g} s{together}{_small(scaled, 2, batch)}")
        seconds[full_signature(draw.plain)] = [took]
    mean = by_structure(seconds, shares)
    return mean if mean is not None else 0.0


def _words(settings: SearchSettings) -> Iterator[str]:
    yield settings.estimator.name
    yield from (each.name for each in settings.regularizers)
    if settings.selection.name != "argmax":
        yield settings.selection.name
    if settings.relaxation.name != "softmax":
        yield settings.relaxation.name


def _structure(
    loaded: LoadedSpec, available: Mapping[str, float], tiny: Rehearsal, draw: Draw, number: int, lanes: int
) -> tuple[float, int, bool]:
    """Returns the seconds of a real epoch, how many trials ran together in it, and whether batches were small."""
    settings = SearchSettings.model_validate(draw.plain)
    sweep = tiny.spec.sweep
    device, threads = "cuda" if sweep.resources.gpus > 0 else "cpu", max(1, int(sweep.resources.cpus))

    took = timed(partial(searches_together, settings, tiny.spec.data, device, 1), threads).seconds
    if took > _SLOW:
        return took * tiny.factors[SEARCH], 1, True
    whole = _whole(loaded, available, took)
    real = SearchSettings.model_validate(configurations(whole.spec, 0)[number].plain)
    took = timed(partial(searches_together, real, whole.spec.data, device, lanes), threads).seconds
    if device == "cuda":
        torch.cuda.empty_cache()
    return took * whole.factors[SEARCH], lanes, False
