"""The report's figures over epochs: skip connections, health, eigenvalue, the supernet's score, retraining."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from raydarts.json_types import number as plain_number
from raydarts.report import stats
from raydarts.report.figures import Figure, Picture, is_share, missing, scale_of, supernet_name, trial_ids
from raydarts.report.gather import Retrained, Run, Searched
from raydarts.report.limits import ANY, SHARE, Limits, limits_of
from raydarts.report.plotting import COLOURS, axis, band, chart, faint_lines, interval, lines, room, series, thinned
from raydarts.report.skips import skips_of
from raydarts.report.wording import axis as unit_of
from raydarts.report.wording import listed, number, percent

Series = Callable[[Mapping[str, object]], float | None]
_GROUPS = 6
_LINES = 100  # single trials drawn faintly behind the means
_GENOTYPES = 8  # retrained genotypes with a line of their own
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


def course(rows: Sequence[Mapping[str, object]], of: Series) -> list[tuple[int, float]]:
    """Returns (epoch, value) of the rows that have a finite value."""
    known = [(row.get("epoch"), of(row)) for row in rows]
    return [(at, value) for at, value in known if isinstance(at, int) and value is not None and math.isfinite(value)]


def _epochs(searches: Sequence[Searched], of: Series) -> dict[int, list[float]]:
    """Returns the values of each epoch: one a trial, with replicates one a configuration, the mean of its trials."""
    values: dict[int, dict[str, list[float]]] = {}
    for search in searches:
        unit = search.id if search.configuration is None else f"configuration {search.configuration}"
        for epoch, value in course(search.rows, of):
            values.setdefault(epoch, {}).setdefault(unit, []).append(value)
    return {epoch: [fmean(each) for each in values[epoch].values()] for epoch in sorted(values)}


def curves(
    run: Run, of: Series, label: str, share: bool = False, count: bool = False, limits: Limits = ANY
) -> tuple[Picture, list[list[str]]] | None:
    """Shows means over trials with 95 % intervals for each group. Single trials are faint behind them."""
    limits = SHARE if share else limits
    _, grouped = groups(run)
    means = {
        name: [
            (epoch, mean)
            for epoch, values in _epochs(searches, of).items()
            if (mean := stats.mean_of(values, limits)) is not None
        ]
        for name, searches in grouped.items()
    }
    if not any(means.values()):
        return None
    scale = 100.0 if share else 1.0
    show = _shown(share)
    traces, rows, drawn = [], [], [0.0] if count else []
    for index, (name, searches) in enumerate(grouped.items()):
        colour = COLOURS[index % 8]
        single = {s.id: course(s.rows, of) for s in searches[: max(1, _LINES // len(grouped))]}
        scaled = {trial: [(at, scale * value) for at, value in line] for trial, line in single.items()}
        drawn += [value for line in scaled.values() for _, value in line]
        drawn += [scale * mean.value for _, mean in means[name]]
        traces.append(faint_lines(scaled.items(), colour, name))
        banded = [
            (epoch, scale * mean.low, scale * mean.high)
            for epoch, mean in means[name]
            if mean.low is not None and mean.high is not None
        ]
        if len(banded) > 1:
            traces.append(band(banded, colour))
    for index, (name, line) in enumerate(means.items()):
        n = max((mean.n for _, mean in line), default=0)
        hover = [lines(name, f"epoch {epoch}", f"mean {interval(mean, show)}") for epoch, mean in line]
        points = [(float(epoch), scale * mean.value) for epoch, mean in line]
        traces.append(series(points, f"{name} (n = {n})", index, hover))
        rows += [_row(label, name, epoch, mean, share) for epoch, mean in thinned(line)]
    last = max(epoch for line in means.values() for epoch, _ in line)
    # An interval may be much wider than all values. It is cut at the axis then, and has no end there.
    y = axis(label + (", %" if share else ""), whole=drawn if count else None, range=room(drawn))
    plot = chart(traces, x=axis("epoch", whole=[0, last]), y=y, legend=True)
    alt = f"{label} over {last} epochs, a line for each group"
    return Picture(label, alt, plot), rows


def _shown(share: bool) -> Callable[[float], str]:
    return (lambda value: f"{percent(value)} %") if share else (lambda value: number(value, 4))


def _row(label: str, name: str, epoch: int, mean: stats.Mean, share: bool) -> list[str]:
    show = percent if share else (lambda value: "-" if value is None else number(value))
    ends = "none: n is 1" if mean.low is None else f"{show(mean.low)} to {show(mean.high)}"
    return [label, name, str(epoch), show(mean.value), show(mean.std), str(mean.n), ends]


_HEADERS = ("of", "group", "epoch", "mean", "std", "n", "95 % interval")


def _figure(
    run: Run, name: str, title: str, pictures: Sequence[tuple[Picture, list[list[str]]] | None], caption: str, why: str
) -> Figure:
    drawn = [each for each in pictures if each is not None]
    if not drawn:
        return missing(name, title, why)
    by, _ = groups(run)
    over = "configurations" if run.configurations else "trials"
    completed = "configurations (each the mean of its completed trials)" if run.configurations else "completed trials"
    words = f"{caption} Lines: means over {completed}{f', grouped by {by}' if by else ''}; "
    words += f"shaded: Student's 95 % interval of the mean over {over}; faint: single trials."
    return Figure(name, title, words, [each[0] for each in drawn], _HEADERS, [row for each in drawn for row in each[1]])


def skips(run: Run) -> Figure:
    first = next((row for search in run.completed for row in search.rows), {})

    def of(cell: str) -> Series:
        return lambda row: float(counts[cell]) if cell in (counts := skips_of(row)) else None

    counts = [
        curves(
            run, of(cell), f"skip connections, {cell} cell", count=True, limits=Limits(0.0, run.most_skips.get(cell))
        )
        for cell in skips_of(first)
    ]
    caption = "Skip connections in the genotype that would be chosen after each epoch."
    return _figure(run, "skips", "Skip connections over epochs", counts, caption, f"genotypes are {NOT_RECORDED}")


def health(run: Run) -> Figure:
    """Shows what health checks judge."""
    bars = {bar.column: bar for bar in run.supernet.health}

    def of(column: str) -> Series:
        return lambda row: plain_number(row.get(column))

    shares = [
        curves(run, of(column), words, share=True)
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
    drawn = curves(run, lambda row: plain_number(row.get("eigenvalue")), "dominant eigenvalue")
    caption = (
        "Largest eigenvalue of the Hessian of the validation loss in alpha; its rise foretells collapse (RobustDARTS)."
    )
    why = f"{NOT_RECORDED}: add the probe 'eigenvalue' to search.probes"
    return _figure(run, "eigenvalue", "Dominant eigenvalue over epochs", [drawn], caption, why)


def score(run: Run) -> Figure:
    of: Series = lambda row: plain_number(row.get(run.metric))  # noqa: E731
    drawn = curves(run, of, supernet_name(run), is_share(run), limits=limits_of(run.supernet))
    how = f"Trials are ranked by {run.supernet.name or run.metric}."
    caption = f"The supernet's score. {run.supernet.warning or how}"
    return _figure(run, "score", "Supernet score over epochs", [drawn], caption, "no completed trial has rows")


def retraining(run: Run) -> Figure:
    """Shows the score over the epochs of retraining, for the best genotypes."""
    metric = run.score
    title = f"Retraining: {metric.words} over epochs"
    of: Series = lambda row: plain_number(row.get(metric.metric))  # noqa: E731
    members: dict[str, list[Retrained]] = {}
    for each in run.retrainings:
        if course(each.rows, of):
            members.setdefault(each.genotype_id, []).append(each)
    names = [name for name in [*run.ranked, *sorted(set(members) - set(run.ranked))] if name in members]
    if not names:
        return missing("retraining", title, f"epochs of retraining are {NOT_RECORDED}")
    scale, show = scale_of(metric), _shown(metric.share)
    traces, rows, last = [], [], 0
    for index, name in enumerate(names[:_GENOTYPES]):
        values: dict[int, list[float]] = {}
        for each in members[name]:
            for epoch, value in course(each.rows, of):
                values.setdefault(epoch, []).append(value)
        means = [(epoch, stats.mean_of(values[epoch], limits_of(metric))) for epoch in sorted(values)]
        known = [(epoch, mean) for epoch, mean in means if mean is not None]
        last = max(last, *(epoch for epoch, _ in known))
        seeds = len(members[name])
        hover = [lines(name, f"epoch {epoch}", f"mean over seeds {interval(mean, show)}") for epoch, mean in known]
        line = series([(float(at), scale * mean.value) for at, mean in known], f"{name} (n = {seeds})", index, hover)
        traces.append(line | {"customdata": [trial_ids(run, name)] * len(known)})
        banded = [
            (float(at), scale * mean.low, scale * mean.high)
            for at, mean in known
            if mean.low is not None and mean.high is not None
        ]
        if len(banded) > 1:
            traces.append(band(banded, COLOURS[index % 8]))
        rows += [_row(metric.words, name, epoch, mean, metric.share) for epoch, mean in thinned(known)]
    plot = chart(
        traces, x=axis("epoch of retraining", whole=[0, last]), y=axis(f"{metric.words}{unit_of(metric)}"), legend=True,
        height=420,
    )  # fmt: skip
    alt = f"{metric.words} over {last} epochs of retraining, a line for each of {len(names[:_GENOTYPES])} genotypes"
    caption = (
        "Lines: means over evaluation seeds, of completed and of unfinished retrainings; shaded: Student's 95 % "
        "interval of the mean."
    )
    if len(names) > _GENOTYPES:
        caption += f" The best {_GENOTYPES} of {len(names)} genotypes are drawn."
    return Figure("retraining", title, caption, [Picture("retraining", alt, plot)], _HEADERS, rows, wide=True)
