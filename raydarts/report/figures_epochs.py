"""The report's pictures over epochs: skip connections, eigenvalue, the supernet's score, arch weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from markupsafe import Markup

from raydarts.json_types import items, section
from raydarts.json_types import number as plain_number
from raydarts.report import stats
from raydarts.report.axes import plot_area
from raydarts.report.figures import Figure, is_share, missing
from raydarts.report.gather import Run, Searched, skips_of
from raydarts.report.limits import ANY, COUNT, SHARE, Limits, limits_of
from raydarts.report.svg import COLOURS, DASHES, Chart
from raydarts.report.swept import is_number
from raydarts.report.wording import listed, number, percent

Item = TypeVar("Item")
Series = Callable[[Mapping[str, object]], float | None]
_GROUPS = 6
_LINES = 120  # single trials drawn faintly behind the means
NOT_RECORDED = "not recorded in this run"


def groups(run: Run) -> tuple[str, dict[str, list[Searched]]]:
    """Groups completed trials by the estimator, else by the first setting with few values. Returns what they are
    grouped by.
    """
    few = [setting for setting in run.settings if not setting.trend and len(setting.values) <= _GROUPS]
    chosen = next((setting for setting in few if setting.name == "search.estimator"), few[0] if few else None)
    if chosen is None:
        return "", {"all completed trials": run.completed}
    members: dict[str, list[Searched]] = {}
    for search in run.completed:
        members.setdefault(str(search.choices.get(chosen.name, "none")), []).append(search)
    return chosen.label, {name: members[name] for name in sorted(members)}


def _epochs(searches: Sequence[Searched], series: Series) -> dict[int, list[float]]:
    """Returns the values of each epoch: one a trial, with replicates one a configuration, the mean of its trials."""
    values: dict[int, dict[str, list[float]]] = {}
    for search in searches:
        of = search.id if search.configuration is None else f"configuration {search.configuration}"
        for row in search.rows:
            value, epoch = series(row), row.get("epoch")
            if value is not None and math.isfinite(value) and isinstance(epoch, int):
                values.setdefault(epoch, {}).setdefault(of, []).append(value)
    return {epoch: [fmean(each) for each in values[epoch].values()] for epoch in sorted(values)}


def curves(
    run: Run, series: Series, label: str, limits: Limits, share: bool = False, count: bool = False
) -> tuple[Markup, list[list[str]]] | None:
    """Shows means over trials with 95 % intervals for each group. Single trials are faint behind them."""
    _, grouped = groups(run)
    means = {name: _epochs(searches, series) for name, searches in grouped.items()}
    every = [value for by_epoch in means.values() for values in by_epoch.values() for value in values]
    last = max((epoch for by_epoch in means.values() for epoch in by_epoch), default=0)
    if not every:
        return None
    x, y = plot_area(
        [1.0, float(last)], [0.0, *every] if count else every, percent_y=share, whole_x=True, whole_y=count
    )
    chart = Chart(f"{label} over {last} epochs, a line for each group", x, y, "epoch", label + (", %" if share else ""))
    rows: list[list[str]] = []
    for index, (name, searches) in enumerate(grouped.items()):
        colour, dash = COLOURS[index % 8], DASHES[index % 8]
        for search in searches[: max(1, _LINES // len(grouped))]:
            values_of = _epochs([search], series)
            chart.line(
                [(x(epoch), y(values[0])) for epoch, values in values_of.items()], colour, width=0.7, opacity=0.13
            )
        points = [(epoch, mean) for epoch, values in means[name].items() if (mean := stats.mean_of(values, limits))]
        low, high = min(every), max(every)
        banded = [
            (x(epoch), y(max(low, mean.low)), y(min(high, mean.high)))
            for epoch, mean in points
            if mean.low is not None and mean.high is not None
        ]
        if len(banded) > 1:
            chart.band(banded, colour)
        if len(points) == 1:
            chart.mark((x(points[0][0]), y(points[0][1].value)), colour, title=f"{name}: one epoch")
        n = max((mean.n for _, mean in points), default=0)
        chart.line(
            [(x(epoch), y(mean.value)) for epoch, mean in points], colour, dash, 2.4, title=f"{name}: mean of {n}"
        )
        chart.key(f"{name} (n = {n})", colour, dash)
        rows += [_row(label, name, epoch, mean, share) for epoch, mean in _thinned(points)]
    return chart.svg(), rows


def _row(label: str, name: str, epoch: int, mean: stats.Mean, share: bool) -> list[str]:
    show = percent if share else (lambda value: "-" if value is None else number(value))
    interval = "none: n is 1" if mean.low is None else f"{show(mean.low)} to {show(mean.high)}"
    return [label, name, str(epoch), show(mean.value), show(mean.std), str(mean.n), interval]


def _thinned(items: list[Item], most: int = 12) -> list[Item]:
    """Returns at most about `most` of the epochs. The last one is among them."""
    step = max(1, len(items) // most)
    return items[step - 1 :: step] if (len(items) - step) % step == 0 else [*items[step - 1 :: step], items[-1]]


_HEADERS = ("of", "group", "epoch", "mean", "std", "n", "95 % interval")


def _figure(
    run: Run, name: str, title: str, pictures: Sequence[tuple[Markup, list[list[str]]] | None], caption: str, why: str
) -> Figure:
    drawn = [each for each in pictures if each is not None]
    if not drawn:
        return missing(name, title, why)
    by, _ = groups(run)
    over = "configurations" if run.configurations else "trials"
    completed = "configurations (each the mean of its completed trials)" if run.configurations else "completed trials"
    text = f"{caption} Lines: means over {completed}{f', grouped by {by}' if by else ''}; "
    text += f"shaded: Student's 95 % interval of the mean over {over}; faint: single trials."
    return Figure(name, title, text, [each[0] for each in drawn], _HEADERS, [row for each in drawn for row in each[1]])


def skips(run: Run) -> Figure:
    first = next((row for search in run.completed for row in search.rows), {})

    def of(cell: str) -> Series:
        return lambda row: float(counts[cell]) if cell in (counts := skips_of(row)) else None

    counts = [curves(run, of(cell), f"skip connections, {cell} cell", COUNT, count=True) for cell in skips_of(first)]
    caption = "Skip connections in the genotype that would be chosen after each epoch."
    return _figure(run, "skips", "Skip connections over epochs", counts, caption, f"genotypes are {NOT_RECORDED}")


def health(run: Run) -> Figure:
    """Shows what health checks judge."""
    bars = {bar.column: bar for bar in run.supernet.health}

    def of(column: str) -> Series:
        return lambda row: plain_number(row.get(column))

    shares = [
        curves(run, of(column), words, SHARE, share=True)
        for column, words in (
            ("skip_share", "share of skip connections"),
            ("parameter_free_share", "share of edges without parameters"),
        )
    ]
    limits = [f"{bar.name} at most {bar.most:g}" for bar in bars.values() if bar.most is not None]
    caption = "Of the judged cell of the genotype after each epoch."
    caption += f" A healthy cell has {listed(limits)}." if limits else ""
    why = f"{NOT_RECORDED}: add the probe 'cell_facts' to search.probes"
    return _figure(run, "health", "Health over epochs", shares, caption, why)


def eigenvalue(run: Run) -> Figure:
    lines = curves(run, lambda row: plain_number(row.get("eigenvalue")), "dominant eigenvalue", ANY)
    caption = (
        "Largest eigenvalue of the Hessian of the validation loss in alpha; its rise foretells collapse (RobustDARTS)."
    )
    why = f"{NOT_RECORDED}: add the probe 'eigenvalue' to search.probes"
    return _figure(run, "eigenvalue", "Dominant eigenvalue over epochs", [lines], caption, why)


def score(run: Run) -> Figure:
    name, limits = f"supernet {run.metric.replace('_', ' ')}", limits_of(run.supernet)
    lines = curves(run, lambda row: plain_number(row.get(run.metric)), name, limits, is_share(run))
    how = f"Trials are ranked by {run.supernet.name or run.metric}."
    caption = f"The supernet's score. {run.supernet.warning or how}"
    return _figure(run, "score", "Supernet score over epochs", [lines], caption, "no completed trial has rows")


def arch_weights(run: Run) -> Figure:
    """Shows the mean arch weight of each primitive over the edges, for the trial behind the best genotype."""
    title = "Arch weights over epochs"
    search = _shown(run)
    if search is None:
        return missing("arch-weights", title, f"arch weights over epochs are {NOT_RECORDED}")
    pictures, rows = [], []
    last = next(section(row["arch_weights"]) for row in reversed(search.rows) if row.get("arch_weights"))
    for cell in last:
        lines = _by_primitive(search, cell)
        every = [value for line in lines.values() for _, value in line]
        if not every:
            continue
        x, y = plot_area(
            [1.0, *(float(epoch) for line in lines.values() for epoch, _ in line)], [0.0, *every], whole_x=True
        )
        alt = f"Mean arch weight of {len(lines)} primitives in the {cell} cell over epochs, trial {search.id}"
        chart = Chart(alt, x, y, "epoch", "mean arch weight over edges", f"{cell} cell")
        for index, (name, line) in enumerate(lines.items()):
            style = (COLOURS[index % 8], DASHES[(index + index // 8) % 8])
            chart.line([(x(epoch), y(value)) for epoch, value in line], *style, 2.2, title=name)
            chart.key(name, *style)
            rows += [[cell, name, str(epoch), f"{value:.4f}"] for epoch, value in _thinned(line, 6)]
        pictures.append(chart.svg())
    caption = (
        f"Trial {search.id}: one search, so there is no spread to show. Arch weights are alpha after the relaxation."
    )
    headers = ["cell type", "primitive", "epoch", "mean over edges"]
    return Figure("arch-weights", title, caption, pictures, headers, rows)


def _shown(run: Run) -> Searched | None:
    """Returns the trial behind the best retrained genotype with recorded arch weights, else the best by the metric."""
    first = [search for name in run.ranked for search in run.searches_by_genotype.get(name, [])]
    sign = -run.supernet.sign
    rest = sorted(run.completed, key=lambda s: math.inf if s.order is None else sign * s.order)
    return next((s for s in [*first, *rest] if any(row.get("arch_weights") for row in s.rows)), None)


def _by_primitive(search: Searched, cell: str) -> dict[str, list[tuple[int, float]]]:
    """Returns primitive -> (epoch, mean over edges).

    A row's `primitives` are one list for all edges, or one for each edge.
    """
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in search.rows:
        record = section(section(row.get("arch_weights")).get(cell))
        if not record:
            continue
        names = items(record["primitives"])
        sums: dict[str, list[float]] = {}
        for edge, weights in enumerate(items(record["weights"])):
            primitives = names if names and isinstance(names[0], str) else items(names[edge])
            for name, weight in zip(primitives, items(weights), strict=False):
                if is_number(weight):
                    sums.setdefault(str(name), []).append(float(weight))
        for name, values in sums.items():
            lines.setdefault(name, []).append((int(plain_number(row["epoch"]) or 0), fmean(values)))
    return lines
