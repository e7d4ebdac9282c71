"""What ways of choosing among recorded searches are worth, by the true accuracy of the cells that they pick.

    python benchmarks/truth.py record OUT.json.gz TABLE.csv.gz RUN [RUN ...]
    python benchmarks/truth.py analyse OUT.json.gz [--size N] [--without TEXT] [--json FIGURES.json]

`record` reads runs of searches in NAS-Bench-201 in which nothing was stopped, and a table of trained cells. It writes
the rows of all epochs, each with the true accuracy of its cell, and what the table says of random cells. `analyse`
needs neither the run nor the table.

A sweep is drawn from the recorded searches: as many configurations as there are (or `--size`), with replacement, and
for each as many search seeds as it has, with replacement. The same sweep is given to every way of choosing:

- `accuracy alone`: the search with the highest validation accuracy of the supernet.
- `healthy`: healthy cells first, then that accuracy, over all searches.
- `default`: healthy cells first, by the mean over search seeds, and collapsed searches are halted.

Ways of choosing are the project's own: objective, halt and promotion. An interval holds 95 % of the drawn sweeps.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from raydarts.config.ranking import HaltSettings
from raydarts.evaluation.lookup import read_table
from raydarts.evaluation.settings import TableSettings
from raydarts.genotypes.facts import cell_facts
from raydarts.genotypes.genotype import Genotype, describe_genotype
from raydarts.registry import members
from raydarts.runs.directory import RunDirectory
from raydarts.runs.results import trials
from raydarts.study.bars import complaints
from raydarts.study.objectives import SearchScore, score_named, search_score_of
from raydarts.study.promotion import promotion
from raydarts.study.results import TrialRecord
from raydarts.study.rules import Rules

SEED = 15
DIGITS = 6
ACCURACY = score_named("validation_accuracy", "max")
HEALTHY_ACCURACY = "healthy_accuracy"
ALONE, HEALTHY, DEFAULT = "accuracy alone", "healthy", "default"


def notation(genotype: Mapping[str, Any]) -> str:
    """The cell in NAS-Bench-201's notation."""
    nodes = [node for node in Genotype.from_json(genotype)["cell"].nodes if node]
    return "+".join(f"|{'|'.join(f'{primitive}~{source}' for primitive, source in node)}|" for node in nodes)


def record(runs: Sequence[Path], table: TableSettings, out: Path) -> None:
    accuracies = {key: test for key, (_, test) in read_table(table).items() if test is not None}
    searches: dict[tuple[str, int | None], dict[str, Any]] = {}
    for run in runs:
        directory = RunDirectory.open(run)
        score = search_score_of(directory.description())
        for each in trials(directory):
            if each.status != "completed":
                print(f"{run}: trial {each.id} is {each.status}, and left out")
                continue
            choices = {name: value for name, value in each.description["choices"].items() if name != "search.seed"}
            rows = [_row(row, accuracies) for row in each.rows]
            searches.setdefault(
                (json.dumps(choices), each.search_seed), {"choices": choices, "seed": each.search_seed, "rows": rows}
            )
    whole = {
        "score": score.to_json(),
        "table": {"test": table.test, "all": _of_cells(accuracies.values()), "healthy": _healthy(table, score)},
        "searches": list(searches.values()),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(out, "wb", mtime=0) as file:  # the same input gives the same bytes
        file.write(json.dumps(whole, separators=(",", ":")).encode())
    print(f"{out}: {len(searches)} searches, {out.stat().st_size:,} bytes")


def _row(row: Mapping[str, Any], accuracies: Mapping[str, float]) -> dict[str, Any]:
    genotype = row["genotype"]
    numbers = {key: value for key, value in row.items() if value is None or isinstance(value, int | float)}
    kept = {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in numbers.items()}
    return {**kept, "cell": notation(genotype), "truth": accuracies[Genotype.from_json(genotype).id]}


def _healthy(table: TableSettings, score: SearchScore) -> dict[str, Any]:
    """The table's cells that keep the bars of the sweep's health checks."""
    import csv  # noqa: PLC0415

    with gzip.open(table.file, "rt", encoding="utf-8") as file:
        rows = [(row[table.architecture], row[table.test]) for row in csv.DictReader(file)]
    kept = [
        float(test) / 100
        for cell, test in rows
        if test and not complaints(score.health, cell_facts(Genotype.from_json(cell)))
    ]
    return _of_cells(kept)


def _of_cells(values: Iterable[float]) -> dict[str, Any]:
    known = sorted(values)
    quantiles = np.quantile(known, np.linspace(0, 1, 201)) if known else []
    return {
        "n": len(known),
        "mean": fmean(known) if known else None,
        "sd": stdev(known) if len(known) > 1 else None,
        "quantiles": [round(float(value), DIGITS) for value in quantiles],
    }


@dataclass(frozen=True)
class Search:
    """A recorded search. `trial` is all of it; `halted` is what the halt leaves of it. `last` is its last row."""

    configuration: str
    trial: TrialRecord
    halted: TrialRecord
    last: Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    score: SearchScore
    table: Mapping[str, Any]
    configurations: Mapping[str, Sequence[Search]]
    truth: Mapping[str, float]
    """By genotype id: the true accuracy."""

    @property
    def searches(self) -> list[Search]:
        return [search for group in self.configurations.values() for search in group]


def read(file: Path) -> Records:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        whole = json.load(stream)
    score = SearchScore.from_json(whole["score"])
    configurations: dict[str, list[Search]] = {}
    truth: dict[str, float] = {}
    for number, each in enumerate(whole["searches"]):
        rows = []
        for row in each["rows"]:
            genotype = Genotype.from_json(row["cell"])
            truth[genotype.id] = row["truth"]
            rows.append({**row, "genotype": genotype.to_json()})
        name = json.dumps(each["choices"])
        configurations.setdefault(name, []).append(
            Search(name, _ended(number, rows), _with_halt(number, rows, score), rows[-1])
        )
    return Records(score, whole["table"], configurations, truth)


def _ended(number: int, rows: Sequence[Mapping[str, Any]], status: str = "completed") -> TrialRecord:
    result = {"status": status, **describe_genotype(rows[-1]["genotype"]), "genotype": rows[-1]["genotype"]}
    return TrialRecord(f"{number:04d}", status, {}, rows, result)


def _with_halt(number: int, rows: Sequence[Mapping[str, Any]], score: SearchScore) -> TrialRecord:
    rules = Rules([HaltSettings().rule(score.health)])
    for epoch, row in enumerate(rows, 1):
        stops = epoch < len(rows) and rules.judge(str(number), epoch, len(rows), row).stops
        if stops:
            return _ended(number, rows[:epoch], "stopped")
    return _ended(number, rows)


Sweep = Sequence[tuple[str, Sequence[Search]]]
"""Configurations, each with its searches."""


def drawn(records: Records, draws: random.Random, size: int) -> Sweep:
    groups = list(records.configurations.items())
    chosen = [groups[draws.randrange(len(groups))] for _ in range(size)]
    return [(name, [group[draws.randrange(len(group))] for _ in group]) for name, group in chosen]


def picked(records: Records, sweep: Sweep, way: str) -> float:
    """The true accuracy of the first genotype that this way of choosing would promote."""
    known: list[TrialRecord] = []
    for number, (_, group) in enumerate(sweep):
        for replicate, search in enumerate(group):
            description = {"configuration": number, "replicate": replicate} if way == DEFAULT else {}
            trial = search.halted if way == DEFAULT else search.trial
            known.append(replace(trial, id=f"{len(known):04d}", description=description))
    score = ACCURACY if way == ALONE else records.score
    first = next(entry for entry in promotion(known, score, 1, None) if entry["promoted"])
    return records.truth[first["id"]]


def interval(values: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return {"mean": fmean(values), "low": float(low), "high": float(high)}


def choices(records: Records, sweeps: int, size: int) -> dict[str, Any]:
    """What each way of choosing picks, over drawn sweeps of `size` configurations, and the differences in them."""
    draws = random.Random(SEED)
    samples = [drawn(records, draws, size) for _ in range(sweeps)]
    of_way = {way: [picked(records, sweep, way) for sweep in samples] for way in (ALONE, HEALTHY, DEFAULT)}
    as_run = list(records.configurations.items())
    random_cell, healthy_cell = (records.table[kind]["mean"] for kind in ("all", "healthy"))
    return {
        "ways": {way: interval(values) | {"as run": picked(records, as_run, way)} for way, values in of_way.items()},
        "differences": {
            "default - accuracy alone": _difference(of_way[DEFAULT], of_way[ALONE]),
            "healthy - accuracy alone": _difference(of_way[HEALTHY], of_way[ALONE]),
            "default - healthy": _difference(of_way[DEFAULT], of_way[HEALTHY]),
            "default - random cell": _difference(of_way[DEFAULT], [random_cell] * sweeps),
            "accuracy alone - random cell": _difference(of_way[ALONE], [random_cell] * sweeps),
            "default - random healthy cell": _difference(of_way[DEFAULT], [healthy_cell] * sweeps),
        },
    }


def means(records: Records, size: int, outer: int, inner: int) -> dict[str, Any]:
    """The mean over sweeps of `size` configurations, with an interval over which configurations were recorded.

    For the interval the recorded configurations are drawn with replacement `outer` times. The mean of each draw is over
    `inner` sweeps, whose configurations are drawn without replacement.
    """
    draws = random.Random(SEED)
    groups = list(records.configurations.items())

    def mean(known: Sequence[tuple[str, Sequence[Search]]], sweeps: int) -> dict[str, float]:
        samples = [draws.sample(known, size) for _ in range(sweeps)]
        of_way = {way: fmean(picked(records, sweep, way) for sweep in samples) for way in (ALONE, HEALTHY, DEFAULT)}
        differences = {f"{way} - {ALONE}": of_way[way] - of_way[ALONE] for way in (HEALTHY, DEFAULT)}
        return of_way | differences | {f"{DEFAULT} - random cell": of_way[DEFAULT] - records.table["all"]["mean"]}

    resampled = [mean(draws.choices(groups, k=len(groups)), inner) for _ in range(outer)]
    return {
        name: {"mean": value, **_span(each[name] for each in resampled)}
        for name, value in mean(groups, 10 * inner).items()
    }


def _difference(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    values = [a - b for a, b in zip(one, other, strict=True)]
    shares = {"better": fmean(value > 0 for value in values), "worse": fmean(value < 0 for value in values)}
    return interval(values) | shares


def judges(records: Records) -> dict[str, Callable[[Mapping[str, Any]], float | None]]:
    """Objectives and signals by name: a number of a row, of which more is better."""
    named: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        HEALTHY_ACCURACY: records.score.order,
        f"{HEALTHY_ACCURACY} (finite form)": records.score.finite,
    }
    for name, member in members("objective").items():
        if getattr(member, "HEALTHY", False) or not getattr(member, "COLUMN", ""):
            continue
        plain = score_named(member.COLUMN, member.DIRECTION)
        named[name] = lambda row, plain=plain: None if (value := plain.of(row)) is None else plain.sign * value
    return named


def ranks(records: Records, samples: int) -> dict[str, dict[str, Any]]:
    """Kendall's tau of objectives and signals with the truth, over searches, with an interval over configurations."""
    draws = random.Random(SEED)
    groups = list(records.configurations.values())
    drawn_groups = [[groups[draws.randrange(len(groups))] for _ in groups] for _ in range(samples)]
    taus: dict[str, dict[str, Any]] = {}
    over: dict[str, list[float]] = {}
    for name, judge in judges(records).items():
        values = {search.trial.id: judge(search.last) for search in records.searches}
        if any(value is None for value in values.values()) or len(set(values.values())) < 2:
            continue

        def tau(some: Iterable[Search], values: Mapping[str, Any] = values) -> float:
            pairs = [(values[search.trial.id], search.last["truth"]) for search in some]
            return float(kendalltau(*zip(*pairs, strict=True)).statistic)

        over[name] = [tau(search for group in sample for search in group) for sample in drawn_groups]
        taus[name] = {"tau": tau(records.searches), **_span(over[name])}
    for name in (HEALTHY_ACCURACY, f"{HEALTHY_ACCURACY} (finite form)"):
        if {name, ACCURACY.metric} <= taus.keys():
            gained = [one - other for one, other in zip(over[name], over[ACCURACY.metric], strict=True)]
            mean = taus[name]["tau"] - taus[ACCURACY.metric]["tau"]
            taus[f"{name} - {ACCURACY.metric}"] = {"tau": mean, **_span(gained)}
    return dict(sorted(taus.items(), key=lambda item: -item[1]["tau"]))


def _span(values: Iterable[float]) -> dict[str, float]:
    known = interval([value for value in values if np.isfinite(value)])
    return {key: known[key] for key in ("low", "high")}


def described(records: Records) -> dict[str, Any]:
    searches = records.searches
    halted = [search for search in searches if search.halted.status == "stopped"]
    truths = [search.last["truth"] for search in searches]
    return {
        "searches": len(searches),
        "configurations": len(records.configurations),
        "epochs": len(searches[0].trial.rows),
        "healthy": sum(not records.score.unhealthy(search.last) for search in searches),
        "halted": len(halted),
        "halted_that_end_healthy": sum(not records.score.unhealthy(search.last) for search in halted),
        "halted_epochs_share": 1 - sum(s.halted.epochs for s in searches) / sum(s.trial.epochs for s in searches),
        "truth": {"mean": fmean(truths), "sd": stdev(truths), "best": max(truths), "worst": min(truths)},
        "table": {kind: {key: records.table[kind][key] for key in ("n", "mean", "sd")} for kind in ("all", "healthy")},
    }


def points(value: float) -> str:
    return f"{100 * value:.2f}"


def told(figures: Mapping[str, Any]) -> str:
    """The figures as tables for a page."""
    about = figures["searches"]
    lines = [
        f"{about['searches']} searches of {about['configurations']} configurations, {about['epochs']} epochs: "
        f"{about['healthy']} end healthy, {about['halted']} are halted, {about['halted_that_end_healthy']} of which "
        f"would have ended healthy ({100 * about['halted_epochs_share']:.0f} % of the epochs are saved). True accuracy "
        "of what they end with: "
        f"{points(about['truth']['mean'])} +- {points(about['truth']['sd'])} "
        f"({points(about['truth']['worst'])} to {points(about['truth']['best'])}).",
        "",
        "| picked by | true accuracy, %, mean over drawn sweeps (95 % of them) | in the sweep as it was run |",
        "|---|---|---|",
    ]
    for way, known in figures["ways"].items():
        span = f"{points(known['low'])} to {points(known['high'])}"
        lines.append(f"| {way} | {points(known['mean'])} ({span}) | {points(known['as run'])} |")
    for kind, words in (("all", "a random cell"), ("healthy", "a random healthy cell")):
        cells = about["table"][kind]
        lines.append(f"| {words} | {points(cells['mean'])} +- {points(cells['sd'])}, n = {cells['n']:,} | |")
    lines += ["", "| difference, points | mean (95 % of drawn sweeps) | better | worse |", "|---|---|---|---|"]
    for name, known in figures["differences"].items():
        span = f"{points(known['low'])} to {points(known['high'])}"
        shares = f"{100 * known['better']:.0f} % | {100 * known['worse']:.0f} %"
        lines.append(f"| {name} | {points(known['mean'])} ({span}) | {shares} |")
    lines += [
        "",
        f"| mean over sweeps of {figures['size']} configurations | points (95 % over configurations) |",
        "|---|---|",
    ]
    for name, known in figures["means"].items():
        lines.append(f"| {name} | {points(known['mean'])} ({points(known['low'])} to {points(known['high'])}) |")
    lines += ["", "| objective or signal | tau with the truth (95 % over configurations) |", "|---|---|"]
    lines += [
        f"| `{name}` | {known['tau']:.2f} ({known['low']:.2f} to {known['high']:.2f}) |"
        for name, known in figures["tau"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("table")
    recording.add_argument("runs", type=Path, nargs="+")
    recording.add_argument("--architecture", default="cellstr")
    recording.add_argument("--test", default="c10_test_200ep")
    analysing = commands.add_parser("analyse")
    analysing.add_argument("file", type=Path)
    analysing.add_argument("--sweeps", type=int, default=2000)
    analysing.add_argument("--size", type=int, help="configurations of a drawn sweep; default: all")
    analysing.add_argument("--without", metavar="TEXT", help="leave configurations out whose settings hold this text")
    analysing.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        test = arguments.test
        table = TableSettings(file=arguments.table, architecture=arguments.architecture, validation=test, test=test)
        record(arguments.runs, table, arguments.out)
        return
    records = read(arguments.file)
    if arguments.without is not None:
        kept = {name: group for name, group in records.configurations.items() if arguments.without not in name}
        records = replace(records, configurations=kept)
    size = arguments.size or len(records.configurations)
    small = max(1, size // 4)
    figures = {
        "searches": described(records),
        **choices(records, arguments.sweeps, size),
        "size": small,
        "means": means(records, small, max(2, arguments.sweeps // 4), 30),
        "tau": ranks(records, 500),
    }
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(told(figures))


if __name__ == "__main__":
    main()
