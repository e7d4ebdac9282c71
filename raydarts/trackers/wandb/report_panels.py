"""Panels of a W&B report. None is made whose metric or config key the run's directory does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from types import ModuleType
from typing import TYPE_CHECKING

from raydarts.report.gather import Run
from raydarts.report.swept import is_number
from raydarts.trackers.wandb import names
from raydarts.trackers.wandb.names import Names
from raydarts.trackers.wandb.report_words import clean

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Runset, SummaryMetric
    from wandb_workspaces.reports.v2.interface import PanelTypes as Panel

_MOST_COLUMNS = 16
_MOST_STRENGTHS = 6
_WIDTH = 24  # of a report's grid


def literal(text: str) -> str:
    """A string literal for W&B's filter language, in which `=` and `<` are rewritten within quotes too."""
    return "'" + "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else f"\\U{ord(c):08x}" for c in text) + "'"


def runset(wr: ModuleType, group: str, job_type: str, title: str) -> Runset:
    """The runs of a group that have this job type."""
    filters = f"Metric('Group') = {literal(clean(group))} and Metric('JobType') = {literal(job_type)}"
    return wr.Runset(name=title, filters=filters)  # without entity and project: the report's, and no look-up


def summary(wr: ModuleType, metric: str) -> SummaryMetric:
    return wr.SummaryMetric(names.last(metric))


def logarithmic(values: Sequence[object]) -> bool:
    """Whether positive numbers span so much that a logarithmic axis shows them better (as `Setting.log`)."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and is_number(value)]
    if len(numbers) < max(2, len(values)) or min(numbers) <= 0 or max(numbers) / min(numbers) < 30:
        return False
    return bool(median(numbers) < (min(numbers) + max(numbers)) / 4)


def skip_metrics(known: Names) -> list[str]:
    return [name for name in known.metrics if name.startswith("skips_")]


def strengths(known: Names) -> list[str]:
    """The numeric settings of regularizers that differ between trials."""
    return [
        key
        for key in known.varying
        if key.startswith("regularizers.")
        and all(map(is_number, known.values(key)))
        and len(set(known.values(key))) > 1
    ][:_MOST_STRENGTHS]


def hyperparameters(wr: ModuleType, run: Run, known: Names) -> list[Panel]:
    """Parallel coordinates of all that varies, and W&B's importance."""
    metrics = [name for name in (run.metric, *skip_metrics(known), "eigenvalue") if name in known.metrics]
    varying = sorted(known.varying, key=lambda key: key == "seed")[: _MOST_COLUMNS - len(metrics)]
    panels = []
    if varying and metrics:
        columns = [
            wr.ParallelCoordinatesPlotColumn(
                wr.Config(clean(key)), display_name=_label(key), log=logarithmic(known.values(key)) or None
            )
            for key in varying
        ]
        columns += [
            wr.ParallelCoordinatesPlotColumn(summary(wr, name), display_name=f"{clean(name)} (last epoch)")
            for name in metrics
        ]
        layout = wr.Layout(w=_WIDTH, h=10)
        panels.append(
            wr.ParallelCoordinatesPlot(columns=columns, title="What was chosen, and what came of it", layout=layout)
        )
    if varying and run.metric in known.metrics:
        layout = wr.Layout(w=_WIDTH, h=9)
        panels.append(wr.ParameterImportancePlot(with_respect_to=names.last(run.metric), layout=layout))
    return panels


def _label(key: str) -> str:
    return "search seed" if key == "seed" else clean(key)


def collapse(wr: ModuleType, columns: Names) -> list[Panel]:
    """Skip connections against every strength that was swept; skips and eigenvalue over the epochs of search."""
    skips = skip_metrics(columns)
    panels = [
        wr.ScatterPlot(
            title=f"{clean(metric)} against {clean(key)}",
            x=wr.Config(clean(key)),
            y=summary(wr, metric),
            log_x=logarithmic(columns.values(key)) or None,
            layout=wr.Layout(w=12, h=9),
        )
        for key in strengths(columns)
        for metric in skips
    ]
    return panels + [
        _over_epochs(wr, metric, f"{clean(metric)} over the epochs of search")
        for metric in (*skips, *(name for name in ("eigenvalue",) if name in columns.metrics))
    ]


def _over_epochs(wr: ModuleType, metric: str, title: str) -> Panel:
    return wr.LinePlot(
        title=title, x=names.STEP, y=[clean(metric)], title_x="epoch", max_runs_to_show=100, layout=wr.Layout(w=12, h=9)
    )


def score(wr: ModuleType, run: Run, columns: Names) -> list[Panel]:
    """The sweep's metric over the epochs of search."""
    if run.metric not in columns.metrics:
        return []
    return [_over_epochs(wr, run.metric, f"supernet {clean(run.metric)} over the epochs of search")]


def retrained(wr: ModuleType, run: Run, columns: Names) -> list[Panel]:
    """The score of each genotype (mean and standard deviation over evaluation seeds), and its course."""
    score = run.score
    if score.metric not in columns.metrics:
        return []
    bars = wr.BarPlot(
        title=f"retrained {score.words}: mean and standard deviation over evaluation seeds",
        metrics=[names.last(score.metric)],
        groupby=wr.Config("genotype_id"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_bars_to_show=50,
        layout=wr.Layout(w=12, h=9),
    )
    return [bars, _over_epochs(wr, score.metric, f"{score.words} over the epochs of retraining")]


def misleading(wr: ModuleType, run: Run, columns: Names) -> list[Panel]:
    """What the supernet said of a genotype against what each retraining gave."""
    key = names.supernet_key(run.metric)
    if run.score.metric not in columns.metrics or not columns.values(key):
        return []
    return [
        wr.ScatterPlot(
            title=f"retrained {run.score.words} against supernet {clean(run.metric)}, a point for each retraining",
            x=wr.Config(clean(key)),
            y=summary(wr, run.score.metric),
            layout=wr.Layout(w=_WIDTH, h=10),
        )
    ]


def drawings(wr: ModuleType, run: Run) -> list[Panel]:
    """The drawings that tracking logs with each search."""
    if not any(search.genotype for search in run.searches):
        return []
    return [
        wr.MediaBrowser(
            title="Genotypes of the searches",
            media_keys=[names.GENOTYPE],
            num_columns=4,
            layout=wr.Layout(w=_WIDTH, h=14),
        )
    ]
