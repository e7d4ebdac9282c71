"""What xi, epsilon and published defects do: estimates of alpha's gradient against that through 20 weight steps.

    python benchmarks/estimators.py [--parts PART ...] [--seeds 0 1 2 3 4] [--json OUT]
    python benchmarks/estimators.py --show OUT

On scikit-learn's digits, no download. The parts:

`darts-cnn`, `nasbench201`: first-order searches with the probe `estimator_truth` after every second epoch. So all
estimators are compared at the same weights, alpha and batches. `nasbench201-sgd`: the same, with an unroll of plain
gradient descent instead of the search's momentum.
`defects`: searches in nasbench201 with `finite_difference` and with each published defect that acts on images.
`text`: the same with recurrent cells on Python's help topics, for the frozen embedding.

Intervals are Student's 95 % over search seeds: of cosines after Fisher's transform, of ratios in logarithms. A seed's
figure is the mean over its epochs. OUT is a JSON file with every row. Parts and seeds that are in it already stay, so
the benchmark can be run in pieces. First the script checks that an unroll of one step in float64 is `exact_hvp` with
xi = lr, up to 1e-10. It exits with 1 if it is not.

Without `--parts` it runs the first two, a search on each CPU core with one thread. Five seeds of nasbench201 took
200 seconds on two busy cores. darts-cnn needs about 75 CPU seconds a seed, estimated from its parts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from raydarts.cpus import usable_cpus

LR = 0.05
Row = dict[str, Any]
SPACES: dict[str, dict[str, Any]] = {
    "darts-cnn": {"name": "darts-cnn", "channels": 4, "layers": 3, "nodes": 2},
    "nasbench201": {"name": "nasbench201", "channels": 4, "cells_per_stage": 1},
}
KEPT = ("epoch", "genotype", "skips", "short_retrain", "validation_accuracy", "validation_perplexity", "seconds")
CLIPPED = "_grad_clip_0.25"
EPOCHS = {"darts-cnn": 4, "nasbench201": 6}
FINITE = [{"name": "finite_difference", "epsilon": epsilon} for epsilon in (1.0, 0.1, 0.01, 0.001)]
SWEPT = [{"name": "exact_hvp", "xi": xi} for xi in (0.005, 0.15, 0.5)]
ESTIMATORS: list[Any] = [
    "first_order", *FINITE, "exact_hvp", *SWEPT, "neumann", {"name": "published_defects", "epsilon_multiplied": True},
]  # fmt: skip
MORE: list[Any] = [{"name": "neumann", "terms": 0}, {"name": "neumann", "terms": 10}]  # four times cheaper there
WORDS = {
    "first_order": "first order (xi = 0)",
    "finite_difference_epsilon_1.0": "finite difference, epsilon 1",
    "finite_difference_epsilon_0.1": "finite difference, epsilon 0.1",
    "finite_difference": "finite difference, epsilon 0.01 (default)",
    "finite_difference_epsilon_0.001": "finite difference, epsilon 0.001",
    "exact_hvp_xi_0.005": "exact, xi = lr / 10",
    "exact_hvp": "exact, xi = lr (default)",
    "exact_hvp_xi_0.15": "exact, xi = 3 lr",
    "exact_hvp_xi_0.5": "exact, xi = 10 lr",
    "neumann_terms_0": "neumann, 0 terms",
    "neumann": "neumann, 3 terms (default)",
    "neumann_terms_10": "neumann, 10 terms",
    "published_defects_epsilon_multiplied_true": "defect: eps multiplied",
    "published_defects_embedding_frozen_true": "defect: embedding frozen",
}
TRUTH = {"name": "estimator_truth", "every": 2, "steps": 20}
BATCHES = {"darts-cnn": 2, "nasbench201": 4}
DEFECTS: dict[str, Any] = {
    "finite_difference": "finite_difference",
    "first_order": "first_order",
    "epsilon_multiplied": {"name": "published_defects", "epsilon_multiplied": True},
    "statistics_updated": {"name": "published_defects", "statistics_updated": True},
}
TEXT_DEFECTS: dict[str, Any] = {
    "finite_difference": {"name": "finite_difference", "grad_clip": 0.25},
    "first_order": "first_order",
    "embedding_frozen": {"name": "published_defects", "grad_clip": 0.25, "embedding_frozen": True},
}


def truth_settings(space: str, seed: int, more: Sequence[Any] = (), **probe: Any) -> dict[str, Any]:
    """A first-order search whose rate stays at LR, so that xi can be a multiple of it."""
    return {
        "seed": seed, "epochs": EPOCHS[space], "batch_size": 32, "lr": LR, "lr_min": LR, "arch_lr": 0.02,
        "space": SPACES[space], "estimator": "first_order",
        "probes": ["skip_counts", {**TRUTH, "batches": BATCHES[space], **probe, "estimators": [*ESTIMATORS, *more]}],
    }  # fmt: skip


def image_settings(estimator: Any, seed: int) -> dict[str, Any]:
    retrained = {"name": "short_retrain", "every": 4, "epochs": 5, "channels": 8, "layers": 3}
    return {
        "seed": seed, "epochs": 4, "batch_size": 32, "lr": LR, "arch_lr": 0.02, "space": SPACES["nasbench201"],
        "estimator": estimator, "probes": ["skips", retrained],
    }  # fmt: skip


def text_settings(estimator: Any, seed: int) -> dict[str, Any]:
    clipped = {"grad_clip": 0.25}
    compared = [
        "first_order", {"name": "finite_difference", **clipped}, {"name": "exact_hvp", **clipped},
        {"name": "published_defects", **clipped, "embedding_frozen": True},
    ]  # fmt: skip
    truth = {**TRUTH, "batches": 4, "estimators": compared}
    return {
        "seed": seed, "epochs": 6, "batch_size": 16, "lr": 0.5, "lr_min": 0.5, "momentum": 0.0, "grad_clip": 0.25,
        "weight_decay": 5e-7, "arch_lr": 0.02, "space": {"name": "darts-rnn", "nodes": 3, "units": 16},
        "text": {"bptt": 8}, "estimator": estimator,
        "probes": ["skips", *([truth] if estimator == "first_order" else [])],
    }  # fmt: skip


Jobs = dict[str, Callable[[int], dict[str, dict[str, Any]]]]
PARTS: Jobs = {
    "darts-cnn": lambda seed: {"truth": truth_settings("darts-cnn", seed)},
    "nasbench201": lambda seed: {"truth": truth_settings("nasbench201", seed, MORE)},
    "nasbench201-sgd": lambda seed: {"truth": truth_settings("nasbench201", seed, MORE, optimizer="sgd")},
    "defects": lambda seed: {name: image_settings(chosen, seed) for name, chosen in DEFECTS.items()},
    "text": lambda seed: {name: text_settings(chosen, seed) for name, chosen in TEXT_DEFECTS.items()},
}
"""For each part the searches of one seed, by name."""


@cache
def splits(text: bool) -> Any:
    from raydarts.data.settings import DataSettings  # noqa: PLC0415
    from raydarts.data.splits import load_splits  # noqa: PLC0415

    data: dict[str, Any] = {"dataset": "digits", "validation_fraction": 0.2}
    if text:
        data = {"dataset": {"name": "pydoc_topics", "vocabulary_size": 300}, "limit": 3000}
    return load_splits(DataSettings.model_validate(data))


def rows_of(settings: Mapping[str, Any]) -> list[Row]:
    """Runs a search in this process with one thread. Returns its rows."""
    import torch  # noqa: PLC0415

    from raydarts.search.search import Search  # noqa: PLC0415
    from raydarts.search.settings import SearchSettings  # noqa: PLC0415

    torch.set_num_threads(1)
    job = Search(SearchSettings.model_validate(settings), splits(settings["space"]["name"] == "darts-rnn"))
    rows = []
    while not job.finished:
        row = job.run_epoch()
        rows.append({key: value for key, value in row.items() if key in KEPT or key.startswith("truth_")})
    return rows


def checked() -> float:
    """Returns the largest difference between an unroll of one step and exact_hvp with xi = lr, in float64."""
    import torch  # noqa: PLC0415

    from raydarts.registry import Choose  # noqa: PLC0415
    from raydarts.search.search import Search  # noqa: PLC0415
    from raydarts.search.settings import SearchSettings  # noqa: PLC0415
    from raydarts.search.unrolling import WeightStep, unrolled_gradient  # noqa: PLC0415

    torch.set_num_threads(1)
    settings = {"precision": "float64", "batch_size": 16, "lr": LR, "alpha_init": 0.5, "space": SPACES["nasbench201"]}
    job = Search(SearchSettings.model_validate(settings), splits(False))
    job.supernet.train()
    weight_batch, draw = next(job.loop.batches())
    alpha_batch = draw()
    group = job.weight_optimizer.param_groups[0]
    rule = WeightStep(LR, group["momentum"], group["weight_decay"])
    unrolled = unrolled_gradient(job.objective, [weight_batch], [alpha_batch], job.weight_optimizer, rule, 1)
    exact = Choose("estimator").parse({"name": "exact_hvp", "xi": LR}).build()
    estimate = exact(job.objective, weight_batch, alpha_batch, job.weight_optimizer)
    return max(float((one - other).abs().max()) for one, other in zip(unrolled, estimate.gradients, strict=True))


# What the rows say


def interval(values: Sequence[float], to: Callable[[float], float], back: Callable[[float], float]) -> list[float]:
    """Returns mean, low and high: Student's 95 % interval in the transformed values, transformed back."""
    from scipy import stats  # noqa: PLC0415

    moved = [to(value) for value in values]
    middle = fmean(moved)
    half = 0.0
    if len(moved) > 1:
        half = float(stats.t.ppf(0.975, len(moved) - 1)) * stdev(moved) / math.sqrt(len(moved))
    return [back(middle), back(middle - half), back(middle + half)]


def of_cosines(values: Sequence[float]) -> list[float]:
    return interval(values, lambda value: math.atanh(min(max(value, -1 + 1e-9), 1 - 1e-9)), math.tanh)


def of_ratios(values: Sequence[float]) -> list[float]:
    return interval(values, lambda value: math.log(max(value, 1e-12)), math.exp)


def plain(values: Sequence[float]) -> list[float]:
    return interval(values, float, float)


def shown(figures: Sequence[float], digits: int = 2) -> str:
    middle, low, high = figures
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def measured(rows: Iterable[Row], column: str) -> list[float]:
    """The values of the epochs in which something was compared."""
    return [float(row[column]) for row in rows if row.get(column) is not None]


def renamed(row: Row) -> Row:
    """A row whose columns leave out the clipping that all estimators of text share."""
    return {key.replace(CLIPPED, ""): value for key, value in row.items()}


def truth_table(seeds: Mapping[str, list[Row]]) -> list[str]:
    first = next(iter(seeds.values()))
    names = [name for name in WORDS if f"truth_cosine_{name}" in first[-1]]
    lines = [
        "| estimator | cosine | less that of first order | norm, share of the truth's | cosine of the correction |",
        "|---|---|---|---|---|",
    ]

    def each(figure: str, name: str) -> list[float]:
        found = [measured(rows, f"truth_{figure}_{name}") for rows in seeds.values()]
        return [fmean(values) for values in found if values]

    base = each("cosine", "first_order")
    for name in names:
        cosines, ratios, corrections = (each(figure, name) for figure in ("cosine", "norm_ratio", "correction"))
        gain = "" if name == "first_order" else shown(plain([a - b for a, b in zip(cosines, base, strict=True)]))
        correction = shown(of_cosines(corrections)) if corrections else ""
        lines.append(
            f"| {WORDS[name]} | {shown(of_cosines(cosines))} | {gain} | {shown(of_ratios(ratios))} | {correction} |"
        )
    return lines


def epoch_table(seeds: Mapping[str, list[Row]]) -> list[str]:
    """Cosines by epoch."""
    rows = next(iter(seeds.values()))
    epochs = [row["epoch"] for row in rows if row.get("truth_norm") is not None]
    names = [name for name in WORDS if f"truth_cosine_{name}" in rows[-1]]
    lines = [
        f"| estimator | {' | '.join(f'epoch {epoch}' for epoch in epochs)} |",
        f"|---|{'---|' * len(epochs)}",
    ]
    for name in names:
        cells = [
            shown(of_cosines([measured([each[epoch - 1]], f"truth_cosine_{name}")[0] for each in seeds.values()]))
            for epoch in epochs
        ]
        lines.append(f"| {WORDS[name]} | {' | '.join(cells)} |")
    return lines


def choices(genotype: Any) -> list[str]:
    """A genotype's edges as texts in the order of its nodes, so that two can be compared."""
    from raydarts.spaces import Genotype  # noqa: PLC0415

    return [
        f"{name} {edge}"
        for name, cell in Genotype.from_json(genotype).cells
        for node in cell.nodes
        for edge in sorted(node)
    ]


def defect_table(seeds: Mapping[str, Mapping[str, list[Row]]], columns: Mapping[str, tuple[str, int]]) -> list[str]:
    """The last rows of the searches with each estimator, and their difference to `finite_difference`, seed by seed."""
    names = list(next(iter(seeds.values())))
    lines = [
        f"| estimator | {' | '.join(f'{words}, and less that of finite_difference' for words, _ in columns.values())} "
        "| choices of the genotype that differ |",
        f"|---|{'---|' * (len(columns) + 1)}",
    ]
    for name in names:
        last = [each[name][-1] for each in seeds.values()]
        base = [each["finite_difference"][-1] for each in seeds.values()]
        cells = []
        for column, (_, digits) in columns.items():
            values, others = ([float(row[column]) for row in rows] for rows in (last, base))
            gain = shown(plain([a - b for a, b in zip(values, others, strict=True)]), digits)
            most = 1.0 if column in ("validation_accuracy", "short_retrain") else math.inf
            inside = [min(most, max(0.0, figure)) for figure in plain(values)]
            cells.append(shown(inside, digits) + ("" if name == "finite_difference" else f"; {gain}"))
        differing = [
            sum(a != b for a, b in zip(choices(row["genotype"]), choices(other["genotype"]), strict=True))
            for row, other in zip(last, base, strict=True)
        ]
        total = len(choices(last[0]["genotype"]))
        lines.append(f"| `{name}` | {' | '.join(cells)} | {fmean(differing):.1f} of {total} |")
    return lines


IMAGES = {
    "validation_accuracy": ("supernet's accuracy", 3),
    "short_retrain": ("accuracy retrained", 3),
    "skips": ("skips", 1),
}
TEXT = {"validation_perplexity": ("supernet's perplexity", 1), "skips": ("skips", 1)}


def show(result: Mapping[str, Any]) -> None:
    """Prints the tables of every part that is there."""
    for part, seeds in result["parts"].items():
        print(f"\n## {part}, search seeds {', '.join(seeds)}\n")
        if part in ("defects", "text"):
            print("\n".join(defect_table(seeds, IMAGES if part == "defects" else TEXT)))
        key = "first_order" if part == "text" else "truth"
        if part != "defects":
            rows = {seed: [renamed(row) for row in found[key]] for seed, found in seeds.items()}
            norms = [fmean(measured(each, "truth_norm")) for each in rows.values()]
            print(f"\nNorm of the gradient through all steps: {shown(of_ratios(norms), 4)}.\n")
            print("\n".join([*truth_table(rows), "", *epoch_table(rows)]))


def recorded(file: Path) -> dict[str, Any]:
    """The rows of a file, which may be compressed."""
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def job(task: tuple[str, str, str, dict[str, Any]]) -> tuple[str, str, str, list[Row]]:
    part, seed, name, settings = task
    return part, seed, name, rows_of(settings)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=["darts-cnn", "nasbench201"])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)), help="search seeds")
    parser.add_argument("--json", type=Path, help="file for all rows; what it holds already stays")
    parser.add_argument("--show", type=Path, help="print the tables of such a file, and run nothing")
    asked = parser.parse_args(arguments)
    if asked.show:
        show(recorded(asked.show))
        return 0
    off = checked()
    print(f"one step of the unroll against exact_hvp, float64: largest difference {off:.1e}", file=sys.stderr)
    if not off < 1e-10:
        print("the unroll is wrong: it must be below 1e-10", file=sys.stderr)
        return 1
    result: dict[str, Any] = {"one_step_error": off, "parts": {}}
    if asked.json and asked.json.exists():
        result = recorded(asked.json)
    tasks = [
        (part, str(seed), name, settings)
        for part in asked.parts
        for seed in asked.seeds
        if str(seed) not in result["parts"].get(part, {})
        for name, settings in PARTS[part](seed).items()
    ]
    whole: dict[tuple[str, str], dict[str, list[Row]]] = {}
    with multiprocessing.get_context("spawn").Pool(max(1, min(usable_cpus(), len(tasks)))) as pool:
        for part, seed, name, rows in pool.imap(job, tasks):
            print(f"{part} seed {seed} {name}", file=sys.stderr, flush=True)
            found = whole.setdefault((part, seed), {})
            found[name] = rows
            if len(found) == len(PARTS[part](int(seed))):
                result["parts"].setdefault(part, {})[seed] = found
                if asked.json:
                    asked.json.write_text(json.dumps(result))
    show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
