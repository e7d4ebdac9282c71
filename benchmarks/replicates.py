"""Search seeds as replicates against the search seed as a parameter, in sweeps of synthetic searches.

    python benchmarks/replicates.py [--sweeps 100] [--json OUT]

Each sweep is a `Study` with Optuna's TPE, as `raydarts sweep` runs it. Nothing is trained: the figure of a search is

    effect, if it has the planted weight decay  +  luck of its search seed  +  noise of the configuration and the seed

Noise has a standard deviation of 1. One of the five search seeds is lucky: it adds 1 to every search.

`lucky`: no setting has an effect. How many of the trials does the lucky seed get? `planted`: one of four weight decays
adds `effect`. After how many trials is the best configuration of the sweep one with that weight decay, and stays so?
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.schedulers.base import Horizon
from raydarts.study.history import Decision
from raydarts.study.replicates import Replicates
from raydarts.study.study import Outcome, Proposer, Study
from raydarts.sweep.searching import Configured

SEEDS = (0, 1, 2, 3, 4)
LUCKY = 3
DECAYS = (0.0001, 0.0003, 0.001, 0.003)
PLANTED = 0.001
EPOCHS = 8
DRAWS = 10_000


@dataclass(frozen=True)
class Way:
    """How search seeds are used: `replicates` of each configuration, or None: the seed is a parameter of the searcher."""

    name: str
    replicates: tuple[int, ...] | None


PARAMETER = Way("seed as a parameter", None)
WAYS = (PARAMETER, Way("replicates [0, 1, 2]", SEEDS[:3]), Way("replicates [0, 1, 2, 3, 4]", SEEDS))


@dataclass(frozen=True)
class World:
    """What a search comes to. It follows from the world's number, the configuration and the search seed."""

    number: int
    effect: float
    noise: float = 1.0
    luck: float = 1.0

    def value(self, config: Mapping[str, Any]) -> float:
        planted = self.effect * (config["weight_decay"] == PLANTED)
        lucky = self.luck * (config["seed"] == LUCKY)
        key = [config[name] for name in ("lr", "arch_lr", "weight_decay", "seed")]
        return planted + lucky + random.Random(f"{self.number}/{key}").gauss(0, self.noise)


def spec(way: Way, trials: int, seed: int, scheduler: str) -> LoadedSpec:
    """The sweep. No spec may leave the seed open to TPE, so that way's searcher is put in after the spec was read."""
    search: dict[str, Any] = {
        "epochs": EPOCHS,
        "lr": {"loguniform": [0.01, 0.1]},
        "arch_lr": {"loguniform": [0.001, 0.1]},
        "weight_decay": {"choice": list(DECAYS)},
    }
    sweep: dict[str, Any] = {"scheduler": scheduler, "seed": seed}
    optuna = {"name": "optuna", "trials": trials // len(way.replicates or (0,)), "startup_trials": 10}
    if way.replicates is None:
        search["seed"] = {"choice": list(SEEDS)}
    else:
        sweep["replicates"] = list(way.replicates)
    data = {"dataset": "digits"}
    with tempfile.TemporaryDirectory() as folder:

        def read(searcher: Mapping[str, Any], searched: Mapping[str, Any]) -> LoadedSpec:
            file = Path(folder) / "spec.yaml"
            file.write_text(json.dumps({"data": data, "search": searched, "sweep": {**sweep, "searcher": searcher}}))
            return load_spec(file)

        if way.replicates is not None:
            return read(optuna, search)
        model = read(optuna, {key: value for key, value in search.items() if key != "seed"})
        return replace(read({"name": "random"}, search), sweep=model.sweep)


@dataclass(frozen=True)
class Searched:
    """One search that ended: its configuration's number, its config, how many epochs it ran, its figure."""

    configuration: int
    config: Mapping[str, Any]
    epochs: int
    value: float


def run(loaded: LoadedSpec, world: World) -> list[Searched]:
    """All searches of a sweep in the order of their ends. They run one after the other."""
    sweep = loaded.sweep
    scheduler: Any = sweep.scheduler.build()
    horizon = Horizon(sweep.metric, "max", EPOCHS, sweep.seed)
    proposer: Proposer = Configured(sweep.searcher.build(), loaded)
    decider = scheduler.build(horizon)
    if sweep.replicates is not None:
        proposer = decider = Replicates(proposer, decider, sweep.replicates, scheduler.meetings(horizon))
    study = Study(proposer, decider, sweep.score, EPOCHS, lambda event: None)
    rows: dict[str, list[tuple[int, float]]] = {}
    ended: list[Searched] = []

    def end(name: str, status: str) -> None:
        reports, trial = rows[name], study.history.trials[name]
        number = int(name) // sweep.trials_each
        ended.append(Searched(number, trial.config, len(reports), reports[-1][1]))
        study.ended(name, Outcome(status, reports[-1][1], tuple(reports)))

    while True:
        name = study.next_ready()
        if name is None:
            asked = study.ask()
            if asked is None:
                return ended
            name = asked[0]
        reports, value = rows.setdefault(name, []), world.value(study.history.trials[name].config)
        decision = Decision.CONTINUE
        while decision is Decision.CONTINUE and len(reports) < EPOCHS:
            epoch = len(reports) + 1
            reports.append((epoch, value * epoch / EPOCHS))
            if epoch < EPOCHS:
                decision = study.reported(name, epoch, {sweep.metric: reports[-1][1]})
        if decision is Decision.CONTINUE:
            end(name, "completed")
        elif decision is Decision.STOP:
            end(name, "stopped")
        while study.to_stop:
            end(study.to_stop.pop(0), "stopped")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and its 95 % interval over resampled sweeps."""
    drawn = np.random.default_rng(0).choice(np.asarray(values, float), size=(DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return fmean(values), float(low), float(high)


def lucky(way: Way, sweeps: int, trials: int, scheduler: str) -> dict[str, Any]:
    """The lucky seed's share of trials and of epochs, beside its fair share. No setting has an effect."""
    of_trials, of_epochs = [], []
    for number in range(sweeps):
        searched = run(spec(way, trials, number, scheduler), World(number, 0.0))
        mine = [each for each in searched if each.config["seed"] == LUCKY]
        of_trials.append(len(mine) / len(searched))
        of_epochs.append(sum(each.epochs for each in mine) / sum(each.epochs for each in searched))
    seeds = SEEDS if way.replicates is None else way.replicates
    return {
        "way": way.name,
        "scheduler": scheduler,
        "trials": trials,
        "fair_share": (LUCKY in seeds) / len(seeds),
        "share_of_trials": interval(of_trials),
        "share_of_epochs": interval(of_epochs),
    }


def right_from(searched: Sequence[Searched], trials_each: int) -> int:
    """After how many trials the best configuration has the planted setting, and stays so; one more than all: never.

    A configuration counts once all of its trials have ended, with their mean.
    """
    values: dict[int, list[float]] = {}
    best, since = (-np.inf, False), None
    for count, each in enumerate(searched, start=1):
        known = values.setdefault(each.configuration, [])
        known.append(each.value)
        if len(known) == trials_each and fmean(known) > best[0]:
            best = (fmean(known), each.config["weight_decay"] == PLANTED)
        since = (since or count) if best[1] else None
    return len(searched) + 1 if since is None else since


def planted(way: Way, sweeps: int, trials: int, effect: float) -> dict[str, Any]:
    """After how many trials sweeps find the planted effect."""
    loaded = [spec(way, trials, number, "fifo") for number in range(sweeps)]
    found = [
        right_from(run(each, World(number, effect)), each.sweep.trials_each) for number, each in enumerate(loaded)
    ]
    return {
        "way": way.name,
        "effect": effect,
        "trials": trials,
        "right_at_the_end": interval([each <= trials for each in found]),
        "trials_until_right": interval([float(min(each, trials)) for each in found]),
        "median_trials_until_right": median(found),
        "share_right_after": {str(count): fmean(each <= count for each in found) for count in range(15, trials + 1, 15)},
        "found": found,
    }


def measure(sweeps: int, say: Callable[[str], None]) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {"lucky": [], "planted": []}
    return rows


if __name__ == "__main__":
    pass
