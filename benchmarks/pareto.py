"""Several objectives on recorded searches: early stopping, searchers and constraints, each against what it must beat.

    python benchmarks/pareto.py FILE [--cells NB201.csv.gz] [--sweeps 40] [--workers 8] [--json OUT]

FILE is a table of recorded searches (docs/replay.md), for example RobustDARTS' S1 grid. NB201 is a table of all cells
of NAS-Bench-201 with the columns `cellstr` and `c10_val_12ep` (percent). Nothing is trained.

The objectives are the accuracy, healthy cells first, and the parameters of the genotype's standard network. A
hypervolume is a share of one box: from the best of each objective to a reference point, the worst of each objective and
a tenth of its range more, over all recorded configurations that count. 1 is a cell that is the best in both.

OUT is `{"stopping": [...], "searchers": [...], "constraints": [...], "claims": [...]}`. Beside each mean is its 95 %
interval over resampled sweeps.

- `stopping` (FILE): `fifo` and `moasha` at its defaults, all recorded search seeds as replicates, every configuration
  in another order in each sweep. `epochs_share` of FIFO without a halt; `hypervolume_share` of FIFO's hypervolume.
- `searchers` (FILE and NB201): the hypervolume after `trials` trials: random, raydarts' multi-objective searchers, and
  Optuna alone. Optuna alone is a study of Optuna's own with the same sampler, seed and budget, that reads the table
  without raydarts. `same_trials`: the share of sweeps in which raydarts ran the same cells in the same order.
- `constraints` (NB201): the accuracy alone with at most so many parameters. `feasible`: the share of trials that keep
  the bar; `infeasible_picks`: sweeps whose pick breaks it, or is unhealthy, though a trial was neither.
- `claims`: what must hold, and whether it does. The exit code is 1 if one does not.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from raydarts.config.spec import SweepSettings
from raydarts.errors import RaydartsError
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.recordings import Recording, Recordings, read, row_of
from raydarts.study.front import points_of
from raydarts.study.pareto import Box
from raydarts.sweeping.picks import everything, picked, searched
from raydarts.sweeping.recorded_costs import costs_of
from raydarts.sweeping.recorded_searching import MOST_OPTIONS, Settings
from raydarts.sweeping.replayed_front import counted
from raydarts.sweeping.replaying import Plan, Replayed, replay
from raydarts.sweeping.replays import figure_of, plan_of, run, settings_of, summary

OBJECTIVES = "[healthy_accuracy, parameters]"
SAMPLERS = ("nsga2", "tpe")
TRIALS = {"recorded searches": 20, "cells": 60}
STARTUP = 10
MOST_EPOCHS, LEAST_VOLUME = 0.60, 0.95
EDGES = 6


def stopping(recordings: Recordings, sweeps: int, workers: int) -> list[dict[str, Any]]:
    """FIFO and moasha on the same orders of the recorded configurations."""
    rows = []
    for scheduler in ("fifo", "moasha"):
        sets = [f"sweep.objective={OBJECTIVES}", f"sweep.scheduler={scheduler}"]
        if len(recordings.seeds) > 1:
            sets.append(f"sweep.replicates={list(recordings.seeds)}")
        planned, _ = plan_of(recordings, settings_of(recordings, sets), workers)
        outcome = summary(run(planned, sweeps))
        keys = ("epochs_share", "hypervolume_share", "hypervolume", "front_size", "pick_collapsed")
        rows.append({"scheduler": scheduler, "sweeps": sweeps, **flat({key: outcome[key] for key in keys})})
        print(f"  {scheduler:8} {words(rows[-1], 'epochs_share')} of the epochs, "
              f"{words(rows[-1], 'hypervolume_share')} of FIFO's hypervolume", flush=True)  # fmt: skip
    return rows


def flat(figures: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Each figure's mean, and its interval beside it."""
    row: dict[str, Any] = {}
    for name, known in figures.items():
        row[name] = None if known is None else known["mean"]
        row[f"{name}_interval"] = None if known is None else known["interval"]
    return row


def words(row: Mapping[str, Any], name: str, form: str = ".3f") -> str:
    low, high = row[f"{name}_interval"]
    return f"{row[name]:{form}} [{low:{form}}, {high:{form}}]"


@dataclass(frozen=True)
class World:
    """Recorded configurations among which searchers choose. One trial runs at a time, so that a searcher is told each
    result before it proposes again."""

    name: str
    recordings: Recordings

    @property
    def trials(self) -> int:
        return min(TRIALS[self.name], len(self.recordings.configurations) - 1)

    @cached_property
    def settings(self) -> Settings:
        return Settings.of(self.recordings.configurations)

    @cached_property
    def box(self) -> Box:
        """Around all configurations that count, at the ends of their first recorded seeds."""
        planned = self.plan("random")
        ends = counted(everything(planned, 0), planned.sweep.score)
        return Box.around(points_of(ends.values(), planned.sweep.score))

    def plan(self, searcher: str, *more: str, objective: str = OBJECTIVES) -> Plan:
        chosen = f"{{name: random, trials: {self.trials}}}"
        if searcher != "random":
            chosen = f"{{name: optuna, sampler: {searcher}, trials: {self.trials}, startup_trials: {STARTUP}}}"
        seed = min(self.recordings.seeds)  # one seed, so that Optuna alone reads the same rows
        sets = [f"sweep.objective={objective}", f"sweep.searcher={chosen}", f"sweep.replicates=[{seed}]"]
        settings: SweepSettings = settings_of(self.recordings, [*sets, "sweep.halt=false", *more])
        return plan_of(self.recordings, settings, workers=1)[0]

    def volume(self, replayed: Replayed, planned: Plan) -> float:
        score = planned.sweep.score
        return self.box.hypervolume(points_of(counted(searched(replayed), score).values(), score))

    def optuna_alone(self, sampler: str, number: int, planned: Plan) -> list[int]:
        """The configurations that a study of Optuna's own runs. It is written without raydarts' searcher."""
        import optuna  # noqa: PLC0415 - after the log is quiet

        score, bars = planned.sweep.score, planned.sweep.score.health
        seed = planned.sweep.seed + number

        def broken(trial: Any) -> list[float]:
            return list(trial.user_attrs["broken"])

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if sampler == "nsga2":
                made: Any = optuna.samplers.NSGAIISampler(seed=seed, population_size=STARTUP, constraints_func=broken)
            else:
                made = optuna.samplers.TPESampler(
                    multivariate=True, group=True, seed=seed, n_startup_trials=STARTUP, constraints_func=broken
                )
            ways = ["maximize" if each.mode == "max" else "minimize" for each in score.each]
            study = optuna.create_study(sampler=made, directions=ways)
        ran = []
        for _ in range(self.trials):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trial = study.ask()
                values = {name: self._suggest(trial, name) for name in self.settings.names}
            index = self.settings.nearest(values)
            run_of = self.recordings.configurations[index].runs[min(self.recordings.seeds)]
            row = run_of.rows[-1]
            over = []
            for bar in bars:  # each has an upper bar alone, and every row has the figure
                figure, most = float(row[bar.column]), float(bar.most or 0.0)  # type: ignore[arg-type]
                over.append((figure - most) / (abs(most) or 1.0))
            trial.set_user_attr("broken", over)
            study.tell(trial, [float(row[each.metric]) for each in score.each])  # type: ignore[arg-type]
            ran.append(index)
        return ran

    def _suggest(self, trial: Any, name: str) -> Any:
        """Asks as for any table: few values are a choice, many are a range."""
        values = self.settings._recorded[name]
        if len(values) <= MOST_OPTIONS or not all(isinstance(value, int | float) for value in values):
            labels = [value if isinstance(value, str) else json.dumps(value) for value in values]
            return values[labels.index(trial.suggest_categorical(name, labels))]
        kind, (low, high) = self.settings._kind(name), self.settings._ends[name]
        if kind == "randint":
            return trial.suggest_int(name, int(low), int(high))
        return trial.suggest_float(name, low, high, log=kind == "loguniform")


def searchers(world: World, sweeps: int) -> Iterator[dict[str, Any]]:
    """Random, and each sampler through raydarts and alone."""
    for searcher in ("random", *SAMPLERS):
        planned = world.plan(searcher)
        volumes, alone, same = [], [], []
        for number in range(sweeps):
            replayed = replay(planned, number)
            volumes.append(world.volume(replayed, planned))
            if searcher != "random":
                ran = world.optuna_alone(searcher, number, planned)
                same.append([trial.configuration for trial in replayed.trials] == ran)
                alone.append(world.box.hypervolume(_points(world, ran, planned)))
        row = {"records": world.name, "searcher": searcher, "trials": world.trials, "sweeps": sweeps}
        row |= flat({"hypervolume": figure_of(volumes), "hypervolume_alone": figure_of(alone) if alone else None})
        row["same_trials"] = sum(same) / len(same) if same else None
        print(f"  {world.name:18} {searcher:7} {words(row, 'hypervolume')}" + (
            f", Optuna alone {words(row, 'hypervolume_alone')}, the same trials in {row['same_trials']:.0%}"
            if same else ""), flush=True)  # fmt: skip
        yield row


def _points(world: World, ran: Sequence[int], planned: Plan) -> list[tuple[float, ...]]:
    seed, score = min(world.recordings.seeds), planned.sweep.score
    rows = [world.recordings.configurations[index].runs[seed].rows[-1] for index in ran]
    known = [score.figures(row) for row in rows if not score.against(row)]
    return [score.costs(figures) for figures in known if figures is not None]


def constraints(world: World, sweeps: int) -> Iterator[dict[str, Any]]:
    """The accuracy alone, with at most the parameters of the smallest quarter of the cells."""
    sizes = sorted(float(run_of.rows[-1]["parameters"]) for run_of in world.recordings.runs)  # type: ignore[arg-type]
    most = sizes[len(sizes) // 4]
    bar = f"sweep.constraints=[{{signal: parameters, most: {most}}}]"
    for searcher in ("random", "tpe", "nsga2"):
        planned = world.plan(searcher, bar, objective="healthy_accuracy")
        score, shares, figures, broken = planned.sweep.score, [], [], 0
        for number in range(sweeps):
            replayed = replay(planned, number)
            keeps = [trial.rows[-1]["parameters"] <= most for trial in replayed.trials]  # type: ignore[operator]
            pick = picked(replayed, score)
            shares.append(sum(keeps) / len(keeps))
            kept = pick is not None and not score.against(pick.searches[0].row)
            broken += any(not score.against(trial.rows[-1]) for trial in replayed.trials) and not kept
            figures.append(pick.mean(score) if pick is not None and kept else None)
        row = {"records": world.name, "searcher": searcher, "trials": world.trials, "sweeps": sweeps, "most": most}
        row |= {"infeasible_picks": broken, **flat({"feasible": figure_of(shares), "accuracy": figure_of(figures)})}
        print(f"  {world.name:18} {searcher:7} {words(row, 'feasible')} of trials keep the bar; "
              f"pick {words(row, 'accuracy', '.4f')}; {broken} picks break it", flush=True)  # fmt: skip
        yield row


def cells(path: Path) -> Recordings:
    """All cells of NAS-Bench-201 as searches of one epoch, whose settings are the operations of their six edges."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    genotypes = [Genotype.from_json(each["cellstr"]) for each in table]
    costs = costs_of(genotypes, _parameters)
    runs = []
    for each, genotype in zip(table, genotypes, strict=True):
        figures = {"validation_accuracy": float(each["c10_val_12ep"]) / 100, **costs[genotype.id]}
        names = [part.split("~")[0] for part in each["cellstr"].replace("+", "").split("|") if part]
        config = {f"edge{number}": name for number, name in enumerate(names)}
        where = f"{path}: cell {each['arch']}"
        runs.append(Recording(where, config, 0, (row_of(1, figures, genotype),), (genotype,)))
    return Recordings(tuple(runs))


def _parameters(genotype: Genotype) -> Mapping[str, int]:
    from raydarts.genotype_facts import parameters_of  # noqa: PLC0415 - loads torch

    return {"parameters": parameters_of(genotype)}


def claims_of(outcome: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What must hold."""
    claims: list[dict[str, Any]] = []

    def claim(what: str, holds: bool, shown: str) -> None:
        claims.append({"claim": what, "holds": bool(holds), "shown": shown})

    moasha = next(row for row in outcome["stopping"] if row["scheduler"] == "moasha")
    epochs, volume = moasha["epochs_share"], moasha["hypervolume_share"]
    claim(f"moasha runs at most {MOST_EPOCHS:.0%} of FIFO's epochs", epochs <= MOST_EPOCHS, f"{epochs:.3f}")
    claim(f"moasha keeps {LEAST_VOLUME:.0%} of FIFO's hypervolume", volume >= LEAST_VOLUME, f"{volume:.3f}")
    claim("no pick of moasha has collapsed", not moasha["pick_collapsed"], f"{moasha['pick_collapsed']}")
    for row in outcome["searchers"]:
        if row["same_trials"] is not None:
            what = f"{row['searcher']} runs the trials of Optuna alone ({row['records']})"
            claim(what, row["same_trials"] == 1, f"{row['same_trials']:.0%}")
        if row["searcher"] != "random" and row["records"] == "cells":
            other = next(each for each in outcome["searchers"] if each["searcher"] == "random"
                         and each["records"] == row["records"])  # fmt: skip
            better = row["hypervolume_interval"][0] > other["hypervolume_interval"][1]
            shown = f"{row['hypervolume']:.3f} and {other['hypervolume']:.3f}"
            claim(f"{row['searcher']} has more hypervolume than random ({row['records']})", better, shown)
    for row in outcome["constraints"]:
        what = f"{row['searcher']} with a constraint: no pick breaks it where a trial keeps it"
        claim(what, row["infeasible_picks"] == 0, str(row["infeasible_picks"]))
        if row["searcher"] != "random":
            other = next(each for each in outcome["constraints"] if each["searcher"] == "random")
            holds = row["feasible_interval"][0] > other["feasible_interval"][1]
            shown = f"{row['feasible']:.3f} and {other['feasible']:.3f}"
            claim(f"{row['searcher']} learns the constraint: more trials keep it than of random", holds, shown)
    return claims


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a table of recorded searches (.json, .json.gz), or a run directory")
    parser.add_argument("--cells", type=Path, help="all cells of NAS-Bench-201 (.csv.gz)")
    parser.add_argument("--sweeps", type=int, default=40, help="how many sweeps for each figure")
    parser.add_argument("--workers", type=int, default=8, help="how many trials run at the same time (stopping)")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    if options.sweeps < 2 or options.workers < 1:
        parser.error("--sweeps is 2 or more, --workers 1 or more")
    logging.getLogger("raydarts").setLevel(logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    began, outcome = time.monotonic(), {}
    try:
        recordings = read([options.file])
        planned, notes = plan_of(recordings, settings_of(recordings, [f"sweep.objective={OBJECTIVES}"]), 1)
        worlds = [World("recorded searches", planned.recordings)]  # with the parameters of their genotypes
        print(f"{options.file}: {len(recordings.runs)} runs; {'; '.join(notes)}", flush=True)
        outcome["stopping"] = stopping(planned.recordings, options.sweeps, options.workers)
        if options.cells is not None:
            worlds.append(World("cells", cells(options.cells)))
        outcome["searchers"] = [row for world in worlds for row in searchers(world, options.sweeps)]
        outcome["constraints"] = [row for world in worlds[1:] for row in constraints(world, options.sweeps)]
    except (RaydartsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    claims = claims_of(outcome)
    for each in claims:
        print(f"{'holds' if each['holds'] else 'FAILS'}: {each['claim']} ({each['shown']})")
    result = {"file": str(options.file), "cells": None if options.cells is None else str(options.cells)}
    result |= {"sweeps": options.sweeps, "workers": options.workers, **outcome, "claims": claims}
    result["seconds"] = round(time.monotonic() - began, 1)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["holds"] for each in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
