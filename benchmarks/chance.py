"""What a run found in NAS-Bench-201, variant by variant, against cells drawn at random, by the same table.

    python benchmarks/chance.py RUN TABLE.csv.gz [--architecture cellstr] [--test c10_test_200ep] [--trials]

A variant is what its trials' settings have in common beside the search seed. For each: the mean over search
seeds of the skip connections found and of the table's test accuracy, with the sample standard deviation and n,
the smallest and largest, the number of collapsed cells (test accuracy under 60 %: the cells of skips and
nones alone), and the probability that as many random cells have a mean at least as high (from 100,000 such sets).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from raydarts.evaluation.lookup import read_table
from raydarts.evaluation.settings import TableSettings
from raydarts.report.tables import report_of

DRAWS = 100_000
COLLAPSED = 0.6


def differing(configs: list[Mapping[str, Any]]) -> list[str]:
    """The settings in which the trials differ, but for the seed."""
    keys = dict.fromkeys(key for config in configs for key in config)
    texts = {key: {json.dumps(config.get(key), sort_keys=True) for config in configs} for key in keys}
    return [key for key, values in texts.items() if len(values) > 1 and key != "seed"]


def name_of(config: Mapping[str, Any], keys: list[str]) -> str:
    """A variant in a few words: the names of its parts, with the settings they were given."""
    words = []
    for key in keys:
        parts = config.get(key)
        for part in parts if isinstance(parts, list) else [parts]:
            if part is None:
                continue
            if not isinstance(part, Mapping):
                words.append(f"{key} {part}")
                continue
            given = ", ".join(f"{name} {value}" for name, value in part.items() if name != "name")
            words.append(f"{part['name']} ({given})" if given else str(part["name"]))
    return " + ".join(words) or "plain"


def spread(values: list[float], digits: int) -> str:
    deviation = f" +- {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("table")
    parser.add_argument("--architecture", default="cellstr")
    parser.add_argument("--test", default="c10_test_200ep")
    parser.add_argument("--trials", action="store_true", help="a row for each trial too")
    arguments = parser.parse_args()
    settings = TableSettings(
        file=arguments.table, architecture=arguments.architecture, validation=arguments.test, test=arguments.test
    )
    table = {key: test for key, (_, test) in read_table(settings).items() if test is not None}
    everyone = np.sort(np.array(list(table.values())))
    trials = [trial for trial in report_of(arguments.run)["trials"] if trial["genotype_id"] is not None]
    keys = differing([trial["config"] for trial in trials])
    groups: dict[str, list[tuple[float, int]]] = {}
    if arguments.trials:
        print(
            "| search seed | variant | genotype | skips | test accuracy, % | worse cells |\n|---|---|---|---|---|---|"
        )
    for trial in trials:
        variant, accuracy = name_of(trial["config"], keys), table[trial["genotype_id"]]
        skips = sum(trial["skips"].values())
        groups.setdefault(variant, []).append((accuracy, skips))
        if arguments.trials:
            worse = np.searchsorted(everyone, accuracy) / len(everyone)
            print(
                f"| {trial['config'].get('seed', 0)} | {variant} | {trial['genotype_id']} | {skips} "
                f"| {100 * accuracy:.2f} | {worse:.1%} |"
            )
    print(
        f"\nRandom cells: mean {100 * everyone.mean():.2f} %, standard deviation {100 * everyone.std(ddof=1):.2f}, "
        f"median {100 * np.median(everyone):.2f}, best {100 * everyone.max():.2f}, n = {len(everyone)}.\n"
    )
    print("| variant | n seeds | skips | test accuracy, % | smallest to largest | collapsed | P(random as good) |")
    print("|---|---|---|---|---|---|---|")
    draws = np.random.default_rng(0)
    for variant, found in sorted(groups.items(), key=lambda item: -fmean(value for value, _ in item[1])):
        percents, skips = [100 * value for value, _ in found], [float(count) for _, count in found]
        chance = (draws.choice(100 * everyone, (DRAWS, len(found))).mean(1) >= fmean(percents)).mean()
        collapsed = sum(value < 100 * COLLAPSED for value in percents)
        print(
            f"| {variant} | {len(found)} | {spread(skips, 1)} | {spread(percents, 2)} "
            f"| {min(percents):.2f} to {max(percents):.2f} | {collapsed} | {chance:.3f} |"
        )


if __name__ == "__main__":
    main()
