"""What a run found in NAS-Bench-201, variant by variant, against cells drawn at random, by the same table.

    python benchmarks/chance.py RUN TABLE.csv.gz [--architecture cellstr] [--test c10_test_200ep] [--trials]

A variant is what its trials' settings have in common beside the search seed. For each: the mean over search
seeds of the skip connections found and of the table's test accuracy, with the sample standard deviation and n,
the smallest and largest, the number of cells under 60 % test accuracy, and the probability that as many random
cells have a mean at least as high (from 100,000 such sets).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from raydarts.evaluation.lookup import read_table
from raydarts.evaluation.settings import TableSettings
from raydarts.registry import resolve
from raydarts.report.tables import report_of

DRAWS = 100_000
COLLAPSED = 0.6


def usual(configs: list[Mapping[str, Any]]) -> dict[str, str]:
    """Each setting's most frequent value, as text, where the trials differ in it; the seed is left out."""
    keys = dict.fromkeys(key for config in configs for key in config if key != "seed")
    counts = {key: Counter(json.dumps(config.get(key), sort_keys=True) for config in configs) for key in keys}
    return {key: count.most_common(1)[0][0] for key, count in counts.items() if len(count) > 1}


def name_of(config: Mapping[str, Any], common: Mapping[str, str]) -> str:
    """A variant in a few words: what it has otherwise than most, each part with the settings that are no defaults."""
    words = []
    for key, value in common.items():
        found = config.get(key)
        if json.dumps(found, sort_keys=True) == value:
            continue
        family = "regularizer" if key == "regularizers" else key
        words += [told(family, part) for part in (found if isinstance(found, list) else [found])]
    return " + ".join(words) or "plain"


def told(family: str, part: Any) -> str:
    """`weight_l2 (factor 81.0)`."""
    if not isinstance(part, Mapping):
        return f"{family} {part}"
    defaults = resolve(family, part["name"]).Settings().model_dump(mode="json")
    given = ", ".join(f"{key} {value}" for key, value in part.items() if key != "name" and defaults[key] != value)
    return f"{part['name']} ({given})" if given else str(part["name"])


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
    common = usual([trial["config"] for trial in trials])
    groups: dict[str, list[tuple[float, int]]] = {}
    if arguments.trials:
        print(
            "| search seed | variant | genotype | skips | test accuracy, % | worse cells |\n|---|---|---|---|---|---|"
        )
    for trial in trials:
        variant, accuracy = name_of(trial["config"], common), table[trial["genotype_id"]]
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
    print("| variant | n seeds | skips | test accuracy, % | smallest to largest | under 60 % | P(random as good) |")
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
