"""What a run found in NAS-Bench-201 against cells drawn at random, by the same table.

    python benchmarks/chance.py RUN TABLE.csv.gz [--architecture cellstr] [--test c10_test_200ep]

For each search of the run: the table's accuracy of its genotype, and the share of all cells that are worse.
Then the mean over searches against that of random cells, with the probability that as many random cells
have a mean at least as high (by drawing 100,000 such sets). Best-of-n is compared with the best of n random.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from raydarts.evaluation.lookup import read_table
from raydarts.evaluation.settings import TableSettings
from raydarts.report.tables import report_of

DRAWS = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("table")
    parser.add_argument("--architecture", default="cellstr")
    parser.add_argument("--test", default="c10_test_200ep")
    arguments = parser.parse_args()
    settings = TableSettings(
        file=arguments.table, architecture=arguments.architecture, validation=arguments.test, test=arguments.test
    )
    table = {key: test for key, (_, test) in read_table(settings).items() if test is not None}
    everyone = np.sort(np.array(list(table.values())))
    groups: dict[str, list[float]] = {}
    print("| search seed | estimator | genotype | skips | test accuracy in the table | worse cells |")
    print("|---|---|---|---|---|---|")
    for trial in report_of(arguments.run)["trials"]:
        if trial["genotype_id"] is None:
            continue
        accuracy = table[trial["genotype_id"]]
        estimator = trial["config"]["estimator"]["name"]
        groups.setdefault(estimator, []).append(accuracy)
        worse = np.searchsorted(everyone, accuracy) / len(everyone)
        skips = sum(trial["skips"].values())
        print(
            f"| {trial['config']['seed']} | {estimator} | {trial['genotype_id']} | {skips} "
            f"| {accuracy:.4f} | {worse:.1%} |"
        )
    groups["all"] = [value for values in groups.values() for value in values]
    draws = np.random.default_rng(0)
    print(
        f"\nrandom cells: mean {everyone.mean():.4f}, sd {everyone.std(ddof=1):.4f}, "
        f"median {np.median(everyone):.4f}, best {everyone.max():.4f}, n = {len(everyone)}\n"
    )
    for name, values in groups.items():
        n = len(values)
        sets = draws.choice(everyone, (DRAWS, n))
        spread = stdev(values) if n > 1 else float("nan")
        print(
            f"{name}: mean {fmean(values):.4f} +- {spread:.4f} (n = {n} searches); {n} random cells have at least "
            f"that mean with probability {(sets.mean(1) >= fmean(values)).mean():.3f}; best {max(values):.4f}, "
            f"best of {n} random cells {sets.max(1).mean():.4f} on average"
        )


if __name__ == "__main__":
    main()
