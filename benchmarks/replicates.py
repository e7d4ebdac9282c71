"""Search seeds as replicates against the search seed as a parameter, in sweeps of synthetic searches.

    python benchmarks/replicates.py [--sweeps 100] [--only lucky|choices|numbers] [--json OUT]

Each sweep is a `Study` with Optuna's TPE, as `raydarts sweep` runs it. Nothing is trained: the figure of a search is

    effect, if it has the planted weight decay  +  luck of its search seed  +  noise of the configuration and the seed

Noise has a standard deviation of 1. One of the five search seeds is lucky: it adds 1 to every search. A search that is
tried again comes to the same, as a search on a computer does. All ways begin with about 12 trials drawn at random.

`lucky`: no setting has an effect. How many of the trials does the lucky seed get? `planted`: one of four weight decays
adds `effect`. After how many trials is the best configuration of the sweep one with that weight decay? `choices`: there
are 20 configurations. `numbers`: two more settings are any number of a range.
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
from raydarts.study.history import Decision
from raydarts.study.study import Outcome
from raydarts.sweeping.searching import Configured
from raydarts.sweeping.strategy import study_of

SEEDS = (0, 1, 2, 3, 4)
LUCKY = 3
DECAYS = (0.0001, 0.0003, 0.001, 0.003)
PLANTED = 0.001
MOMENTA = (0.8, 0.85, 0.9, 0.93, 0.95)
AT_RANDOM = 12
"""Trials that are drawn at random before TPE proposes any."""
ENOUGH = 0.9
"""A way finds the effect once this share of sweeps has the right answer, and stays above it."""
EPOCHS = 8
DRAWS = 10_000


@dataclass(frozen=True)
class Way:
    """How search seeds are used: as `replicates` of each configuration. None: the searcher chooses the seed."""

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
        key = [config[name] for name in ("lr", "arch_lr", "momentum", "weight_decay", "seed")]
        return planted + lucky + random.Random(f"{self.number}/{key}").gauss(0, self.noise)


PARTS = ("lucky", "choices", "numbers")
SPACES: dict[str, dict[str, Any]] = {
    "choices": {"momentum": {"choice": list(MOMENTA)}},
    "numbers": {"lr": {"loguniform": [0.01, 0.1]}, "arch_lr": {"loguniform": [0.001, 0.1]}},
}


def spec(way: Way, trials: int, seed: int, space: str, scheduler: str = "fifo") -> LoadedSpec:
    """The sweep. No spec may leave the seed open to TPE, so that way's searcher is put in after the spec was read."""
    search: dict[str, Any] = {"epochs": EPOCHS, "weight_decay": {"choice": list(DECAYS)}, **SPACES[space]}
    sweep: dict[str, Any] = {"objective": "validation_accuracy", "scheduler": scheduler, "seed": seed}
    each = len(way.replicates or (0,))
    optuna = {"name": "optuna", "trials": trials // each, "startup_trials": -(-AT_RANDOM // each)}
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
    proposer = Configured(sweep.searcher.build(), loaded)
    study, _ = study_of(sweep, proposer, loaded.search, EPOCHS, lambda event: None)
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
                decision = study.reported(name, epoch, {sweep.score.metric: reports[-1][1]})
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
        searched = run(spec(way, trials, number, "choices", scheduler), World(number, 0.0))
        mine = [each for each in searched if each.config["seed"] == LUCKY]
        of_trials.append(len(mine) / len(searched))
        of_epochs.append(sum(each.epochs for each in mine) / sum(each.epochs for each in searched))
    return {
        "way": way.name,
        "scheduler": scheduler,
        "trials": trials,
        "fair_share": 1 / len(SEEDS),
        "share_of_trials": interval(of_trials),
        "share_of_epochs": interval(of_epochs),
    }


def right(searched: Sequence[Searched], trials_each: int) -> list[bool]:
    """After each trial: whether the best configuration so far has the planted setting.

    A configuration counts once all of its trials have ended, with their mean.
    """
    values: dict[int, list[float]] = {}
    best, answer, answers = -np.inf, False, []
    for each in searched:
        known = values.setdefault(each.configuration, [])
        known.append(each.value)
        if len(known) == trials_each and fmean(known) > best:
            best, answer = fmean(known), each.config["weight_decay"] == PLANTED
        answers.append(answer)
    return answers


def stays(answers: Sequence[bool]) -> int:
    """After how many trials the answer is right and stays so; one more than all: never."""
    wrong = [number for number, answer in enumerate(answers, start=1) if not answer]
    return max(wrong, default=0) + 1


def planted(way: Way, sweeps: int, trials: int, space: str, effect: float) -> dict[str, Any]:
    """After how many trials sweeps find the planted effect."""
    answers = []
    for number in range(sweeps):
        loaded = spec(way, trials, number, space)
        answers.append(right(run(loaded, World(number, effect)), loaded.sweep.trials_each))
    shares = [fmean(each[count] for each in answers) for count in range(min(map(len, answers)))]
    until = [stays(each) for each in answers]
    return {
        "way": way.name,
        "space": space,
        "effect": effect,
        "trials": trials,
        "trials_until_most_are_right": stays([share >= ENOUGH for share in shares]),
        "trials_until_right": interval([float(each) for each in until]),
        "median_trials_until_right": median(until),
        "right_at_the_end": interval([each[-1] for each in answers]),
        "share_right": {str(count): shares[count - 1] for count in range(15, len(shares) + 1, 15)},
        "until": until,
    }


def measure(sweeps: int, parts: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """All rows. `fewer`: by how many trials a way is right earlier than with the seed as a parameter, in the same
    worlds, with its 95 % interval."""
    rows: dict[str, list[dict[str, Any]]] = {"lucky": [], "planted": []}
    for scheduler in ("fifo", "asha") if "lucky" in parts else ():
        for way in (WAYS[0], WAYS[-1]):
            row = lucky(way, sweeps, 40, scheduler)
            rows["lucky"].append(row)
            shares = [f"{name} {_shown(row[f'share_of_{name}'], 3)}" for name in ("trials", "epochs")]
            say(f"lucky seed, {scheduler}, {way.name}: share of {', of '.join(shares)} (fair: 0.200)")
    for space in (name for name in SPACES if name in parts):
        for effect in (1.0, 1.5):
            first: list[int] = []
            for way in WAYS:
                row = planted(way, sweeps, 90, space, effect)
                until = row.pop("until")
                first = first or until
                row["fewer"] = interval([float(one - other) for one, other in zip(first, until, strict=True)])
                rows["planted"].append(row)
                say(
                    f"planted {effect}, {space}, {way.name}: nine of ten sweeps are right after "
                    f"{row['trials_until_most_are_right']} trials; a sweep after "
                    f"{_shown(row['trials_until_right'], 1)}, fewer by {_shown(row['fewer'], 1)}; "
                    f"right at the end {_shown(row['right_at_the_end'], 3)}"
                )
    return rows


def _shown(values: tuple[float, float, float], digits: int) -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=100, help="sweeps of each kind (100)")
    parser.add_argument("--only", choices=PARTS, help="one part (all)")
    parser.add_argument("--json", type=Path, help="write the rows there")
    arguments = parser.parse_args()
    parts = PARTS if arguments.only is None else (arguments.only,)
    rows = measure(arguments.sweeps, parts, lambda text: print(text, flush=True))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"sweeps": arguments.sweeps, **rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
