"""What each scheduler and objective would have picked of recorded searches: sweeps replayed in many orders.

    python benchmarks/honest.py FILE [--sweeps 100] [--workers 8] [--json OUT] [--robust]

FILE is a table of recorded searches (docs/replay.md), for example RobustDARTS' S1 grid. Every configuration is tried,
in another order in each sweep, and every recorded search seed is a replicate. Nothing is trained.

OUT is `{"rows": [...], ...}`. A row is one scheduler with one objective. The figures are means over sweeps; beside each
is its 95 % interval over resampled sweeps (`skips_interval`).

- `scheduler`, `objective`; `default`: True for what raydarts ships as its default, and for that row alone
- `epochs_share`: epochs that were run, as a share of what FIFO without a halt runs
- of the configuration that is picked, as means over its search seeds: `skips` and `parameter_free` (edges of the judged
  cell, of `edges`), `parameters` (of its space's standard network; DARTS: 36 channels, 20 layers),
  `accuracy_below_best` (points below the configuration with the best accuracy at its end, collapsed or not;
  `accuracy_below_best_worst`: in the worst sweep)
- `collapsed_share`: how often a picked cell has collapsed: more than half of its edges are skips, or three quarters or
  more have no parameters. `fallback_share`: of the sweeps, those whose pick is the last healthy genotype of a search
  that collapsed later
- `fifo_pick_share`: of the sweeps, those that pick the configuration that FIFO picks with this objective
- `finishers_collapsed_share`: of the trials that ran to their end, those that have collapsed
- `halts_caught`, `halts_false`: trials that were halted and whose record ends collapsed, or does not; `*_of`: how many
  trials there are of each kind; `*_share`: the one by the other

A figure that the file cannot tell is null, with the reason in `notes`.

`--robust` replays the default and accuracy alone on other records made of FILE too: random halves of the
configurations, and each search seed alone (`robust` in OUT).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from raydarts.config.spec import SweepSettings
from raydarts.errors import RaydartsError
from raydarts.genotype_facts import parameters_of
from raydarts.genotypes.genotype import Genotype
from raydarts.runs.recordings import Recordings, read
from raydarts.sweeping.picks import judged, picked
from raydarts.sweeping.replaying import Plan, replay
from raydarts.sweeping.replays import figure_of, plan_of, settings_of

SCHEDULERS = ("fifo", "asha", "median", "hyperband")
OBJECTIVES = ("validation_accuracy", "healthy_accuracy")
DEFAULT_SCHEDULER = "asha"
"""The scheduler of the shipped sweeps. Its settings are its own defaults, which are shares of the epochs."""
HALVES = 10


def plan(recordings: Recordings, scheduler: str, objective: str, workers: int) -> Plan:
    """The sweep that is replayed: raydarts' defaults but for scheduler and objective, and all seeds as replicates."""
    sets = [f"sweep.scheduler={scheduler}", f"sweep.objective={objective}"]
    if len(recordings.seeds) > 1:
        sets.append(f"sweep.replicates={list(recordings.seeds)}")
    settings: SweepSettings = settings_of(recordings, sets)
    return plan_of(recordings, settings, workers)[0]


@cache
def parameters(genotype: Genotype | None) -> float | None:
    """Parameters of the standard network. None: no space of raydarts' has this genotype."""
    if genotype is None:
        return None
    try:
        return float(parameters_of(genotype))
    except RaydartsError:
        return None


def sweeps_of(planned: Plan, sweeps: int) -> Iterator[dict[str, Any]]:
    """What each sweep came to, with the parameters of its pick."""
    for number in range(sweeps):
        replayed = replay(planned, number)
        told, pick = judged(planned, replayed), picked(replayed, planned.sweep.score)
        sizes = [] if pick is None else [size for each in pick.genotypes if (size := parameters(each)) is not None]
        yield told | {"parameters": fmean(sizes) if sizes else None}


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def row(planned: Plan, scheduler: str, objective: str, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of OUT."""
    picks = [each["pick"] for each in told if each["pick"] is not None]
    figures = {
        "epochs_share": [each["epochs_share"] for each in told],
        "skips": [pick["skips"] for pick in picks],
        "parameter_free": [pick["parameter_free"] for pick in picks],
        "edges": [pick["edges"] for pick in picks],
        "parameters": [each["parameters"] for each in told],
        "accuracy_below_best": [None if each["below_best"] is None else 100 * each["below_best"] for each in told],
        "collapsed_share": [pick["collapsed"] for pick in picks],
        "fallback_share": [pick["fallback"] for pick in picks],
        "fifo_pick_share": [each["best_picked"] for each in told],
        "finishers_collapsed_share": [share(each["finishers_collapsed"], each["finishers"]) for each in told],
        "halts_caught": [each["halts_caught"] for each in told],
        "halts_caught_of": [each["halts_caught_of"] for each in told],
        "halts_caught_share": [share(each["halts_caught"], each["halts_caught_of"]) for each in told],
        "halts_false": [each["halts_false"] for each in told],
        "halts_false_of": [each["halts_false_of"] for each in told],
        "halts_false_share": [share(each["halts_false"], each["halts_false_of"]) for each in told],
    }
    shipped = SweepSettings().objective.name
    made: dict[str, Any] = {
        "scheduler": scheduler,
        "objective": objective,
        "default": scheduler == DEFAULT_SCHEDULER and objective == shipped,
        "halt": bool(planned.sweep.halt),
        "sweeps": len(told),
        "without_pick": len(told) - len(picks),
    }
    for name, values in figures.items():
        known = figure_of(values)
        made[name] = None if known is None else known["mean"]
        made[f"{name}_interval"] = None if known is None else known["interval"]
        if name == "accuracy_below_best":
            made["accuracy_below_best_worst"] = None if known is None else known["most"]
    return made


def rows_of(recordings: Recordings, sweeps: int, workers: int) -> Iterator[dict[str, Any]]:
    for objective in OBJECTIVES:
        for scheduler in SCHEDULERS:
            planned = plan(recordings, scheduler, objective, workers)
            yield row(planned, scheduler, objective, list(sweeps_of(planned, sweeps)))


def halves(recordings: Recordings) -> Iterator[tuple[str, Recordings]]:
    """Records made of the recordings: random halves of the configurations, and each search seed alone."""
    for number in range(HALVES):
        order = list(recordings.configurations)
        random.Random(number).shuffle(order)
        yield "half of the configurations", recordings.of(order[: max(1, (len(order) + 1) // 2)])
    if len(recordings.seeds) > 1:
        for seed in recordings.seeds:
            yield "one search seed", recordings.with_seeds((seed,))


def robust(recordings: Recordings, sweeps: int, workers: int) -> list[dict[str, Any]]:
    """The default and accuracy alone on records made of the recordings."""
    told: dict[tuple[str, str], list[dict[str, Any]]] = {}
    plans: dict[tuple[str, str], Plan] = {}
    for what, part in halves(recordings):
        for objective in OBJECTIVES:
            planned = plan(part, DEFAULT_SCHEDULER, objective, workers)
            plans[what, objective] = planned
            told.setdefault((what, objective), []).extend(sweeps_of(planned, max(2, sweeps // HALVES)))
    return [
        {"records": what} | row(plans[what, objective], DEFAULT_SCHEDULER, objective, each)
        for (what, objective), each in told.items()
    ]


def line(told: Mapping[str, Any]) -> str:
    def text(name: str, form: str, scale: float = 1) -> str:
        return "-" if told[name] is None else format(scale * told[name], form)

    marked = "*" if told["default"] else " "
    return (
        f"{marked}{told['scheduler']:<10}{told['objective']:<21}{text('epochs_share', '.1f', 100):>7} %"
        f"{text('skips', '.1f'):>7}{text('parameter_free', '.1f'):>7}{text('parameters', '.2f', 1e-6):>7} M"
        f"{text('accuracy_below_best', '.2f'):>8}{text('accuracy_below_best_worst', '.2f'):>7}"
        f"{text('collapsed_share', '.0f', 100):>6} %{text('fifo_pick_share', '.0f', 100):>6} %"
        f"{text('finishers_collapsed_share', '.1f', 100):>7} %"
        f"{text('halts_caught', '.1f'):>6}/{text('halts_caught_of', '.0f')}"
        f"{text('halts_false', '.1f'):>6}/{text('halts_false_of', '.0f')}"
    )


HEAD = (
    " scheduler objective             epochs   skips   free   params   below  worst  coll.  FIFO's  finishers  "
    "halted: caught, false"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a table of recorded searches (.json, .json.gz), or a run directory")
    parser.add_argument("--sweeps", type=int, default=100, help="how many sweeps for each scheduler and objective")
    parser.add_argument("--workers", type=int, default=8, help="how many trials run at the same time")
    parser.add_argument("--json", type=Path, help="where the rows are written")
    parser.add_argument("--robust", action="store_true", help="other records made of FILE too")
    options = parser.parse_args()
    if options.sweeps < 1 or options.workers < 1:
        parser.error("--sweeps and --workers are 1 or more")
    logging.getLogger("raydarts").setLevel(logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    began = time.monotonic()
    try:
        recordings = read([options.file])
        print(f"{options.file}: {len(recordings.runs)} runs, {len(recordings.configurations)} configurations")
        for note in recordings.notes:
            print(note)
        print(HEAD)
        rows = []
        for told in rows_of(recordings, options.sweeps, options.workers):
            rows.append(told)
            print(line(told), flush=True)
        made = []
        if options.robust:
            print("Records made of these:")
            made = robust(recordings, options.sweeps, options.workers)
            for told in made:
                print(f"{line(told)}   {told['records']}")
    except RaydartsError as error:
        print(error, file=sys.stderr)
        return 2
    result = {
        "file": str(options.file),
        "sweeps": options.sweeps,
        "workers": options.workers,
        "runs": len(recordings.runs),
        "configurations": len(recordings.configurations),
        "seeds": list(recordings.seeds),
        "epochs": recordings.epochs,
        "seconds": round(time.monotonic() - began, 1),
        "notes": [*recordings.notes, *missing(rows)],
        "rows": rows,
        "robust": made,
    }
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def missing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why figures are null."""
    notes = []
    if any(each["parameters"] is None for each in rows):
        notes.append("parameters is null: no space of raydarts' has the picked genotypes, or there is no genotype")
    if any(each["skips"] is None for each in rows):
        notes.append("skips and parameter_free are null: the picked cells are not known")
    return notes


if __name__ == "__main__":
    sys.exit(main())
