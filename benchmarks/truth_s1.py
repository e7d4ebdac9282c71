"""Retrain what each way of choosing takes out of recorded searches, and say what that is worth.

    python benchmarks/truth_s1.py choose robustdarts_s1_cifar10_runs.json.gz s1-picks.txt
    raydarts sweep benchmarks/truth-s1.yaml ...   (the whole command stands in that file)
    python benchmarks/truth_s1.py record RUN s1-picks.txt benchmarks/data/truth-s1.csv
    python benchmarks/truth_s1.py analyse benchmarks/data/truth-s1.csv

`choose` reads a list of searches. Of each it uses `genotype` (what `Genotype(...)` prints) and the last of
`epoch_valid_acc` (points, one for each epoch):

- `accuracy_alone`: the highest validation accuracy.
- `healthy_first`: the highest validation accuracy among the healthy cells.
- `healthy_at_random`: a healthy cell, drawn by a fixed seed; not the one of `healthy_first`.
- `worst`: the lowest validation accuracy. The first of equal ones.

A cell is healthy if at most half of its normal cell's edges are skip connections, and at most three quarters have no
parameters (skip connections, pools, none).

`record` keeps the accuracies of every retraining. `analyse` prints means over evaluation seeds with 95 % intervals
(Student's t; of differences Welch's).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats

from raydarts.genotypes.genotype import Genotype
from raydarts.report.limits import SHARE
from raydarts.report.stats import mean_of
from raydarts.runs.directory import RunDirectory
from raydarts.runs.results import retrained

PARAMETER_FREE = frozenset({"skip_connect", "max_pool_3x3", "avg_pool_3x3", "none"})
MOST_SKIPS, MOST_PARAMETER_FREE = 1 / 2, 3 / 4
SEED = 15


SHOWN = ("drop_path_prob", "weight_decay", "seed")
FIGURES = ("validation_accuracy", "test_accuracy", "parameters")
BEST = "healthy_first"

Search = Mapping[str, Any]


def counts(genotype: str) -> tuple[int, int, int]:
    """Returns skip connections, parameter-free edges and all edges of the normal cell."""
    operations = [operation for operation, _ in Genotype.from_json(genotype)["normal"].edges()]
    return operations.count("skip_connect"), sum(each in PARAMETER_FREE for each in operations), len(operations)


def is_healthy(genotype: str) -> bool:
    skips, free, edges = counts(genotype)
    return skips <= MOST_SKIPS * edges and free <= MOST_PARAMETER_FREE * edges


def chosen(searches: Sequence[Search]) -> dict[str, Search]:
    """Returns the search that each way of choosing takes."""

    def accuracy(search: Search) -> float:
        return float(search["epoch_valid_acc"][-1])

    healthy = [search for search in searches if is_healthy(search["genotype"])]
    best = max(healthy, key=accuracy)
    others = [search for search in healthy if search["genotype"] != best["genotype"]]
    return {
        "accuracy_alone": max(searches, key=accuracy),
        "healthy_first": best,
        "healthy_at_random": random.Random(SEED).choice(others),
        "worst": min(searches, key=accuracy),
    }


def choose(records: Path, target: Path) -> None:
    with gzip.open(records, "rt", encoding="utf-8") as stream:
        picks = chosen(json.load(stream))
    lines = []
    for name, search in picks.items():
        skips, free, edges = counts(search["genotype"])
        settings = ", ".join(f"{key} {search[key]}" for key in SHOWN if key in search)
        accuracy = search["epoch_valid_acc"][-1]
        print(
            f"{name}: {settings}; validation accuracy {accuracy:.2f}; {skips} skips, {free} parameter-free of {edges}"
        )
        lines.append(f"{name} = {search['genotype']}\n")
    target.write_text("".join(lines), encoding="utf-8")


def record(run: Path, picks: Path, out: Path) -> None:
    lines = picks.read_text(encoding="utf-8").splitlines()
    texts = dict(line.split(" = ", 1) for line in lines)
    names = {Genotype.from_json(text).id: name for name, text in texts.items()}
    rows = []
    for each in retrained(RunDirectory.open(run), "evaluate"):
        if each.status != "completed":
            print(f"{each.id} is {each.status}, and left out")
            continue
        figures = {key: each.outcome[key] for key in FIGURES}
        rows.append({"pick": names[each.description["genotype_id"]], "seed": each.description["seed"], **figures})
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (list(texts).index(row["pick"]), row["seed"])))


def spread(values: Sequence[float]) -> str:
    """A mean in percent with its 95 % interval."""
    known = mean_of(values, SHARE)
    if known is None or known.low is None or known.high is None:
        raise ValueError("an interval needs two values")
    return f"{100 * known.value:.2f} ({100 * known.low:.2f} to {100 * known.high:.2f})"


def analyse(file: Path) -> None:
    with file.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    picks: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        picks.setdefault(row["pick"], []).append(row)
    print("| picked by | test accuracy, % | validation accuracy, % | n evaluation seeds | parameters |")
    print("|---|---|---|---|---|")
    for name, known in picks.items():
        test, held = ([float(row[key]) for row in known] for key in ("test_accuracy", "validation_accuracy"))
        print(f"| {name} | {spread(test)} | {spread(held)} | {len(known)} | {int(known[0]['parameters']):,} |")
    print("\n| difference of test accuracies, points | mean (95 %) |\n|---|---|")
    tests = {name: [float(row["test_accuracy"]) for row in known] for name, known in picks.items()}
    for name in (name for name in tests if name != BEST):
        known = stats.ttest_ind(tests[BEST], tests[name], equal_var=False).confidence_interval(0.95)
        mean = fmean(tests[BEST]) - fmean(tests[name])
        print(f"| {BEST} - {name} | {100 * mean:.2f} ({100 * known.low:.2f} to {100 * known.high:.2f}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    choosing = commands.add_parser("choose")
    choosing.add_argument("records", type=Path)
    choosing.add_argument("target", type=Path, help="a text file: NAME = Genotype(...), a line for each pick")
    recording = commands.add_parser("record")
    recording.add_argument("run", type=Path)
    recording.add_argument("picks", type=Path)
    recording.add_argument("out", type=Path)
    commands.add_parser("analyse").add_argument("file", type=Path)
    arguments = parser.parse_args()
    match arguments.command:
        case "choose":
            choose(arguments.records, arguments.target)
        case "record":
            record(arguments.run, arguments.picks, arguments.out)
        case _:
            analyse(arguments.file)


if __name__ == "__main__":
    main()
