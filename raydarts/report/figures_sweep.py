"""The report's pictures of single settings: importance, and the effect of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from raydarts.report import stats
from raydarts.report.axes import HEIGHT, plot_area
from raydarts.report.figures import Figure, bars, is_share, missing
from raydarts.report.gather import Run, Searched
from raydarts.report.importance import FANOVA, FEWEST, PED, importances, reasons
from raydarts.report.limits import COUNT, Limits, limits_of
from raydarts.report.svg import COLOURS, SOFT, Chart
from raydarts.report.swept import Setting, is_number
from raydarts.report.wording import number, percent

Value = Callable[[Searched], float | None]
_WIDE = 900


@dataclass(frozen=True)
class Measured:
    """What is drawn against settings: its name, whether it is in percent, its limits, and its value of a trial."""

    name: str
    share: bool
    limits: Limits
    value: Value


def measured(run: Run) -> list[Measured]:
    name = f"supernet {run.metric.replace('_', ' ')}"
    return [
        Measured(name, is_share(run), limits_of(run.supernet), lambda search: search.metric),
        Measured("skip connections", False, COUNT, lambda each: None if each.skips is None else float(each.skips)),
    ]


def importance(run: Run) -> Figure:
    title = "Importance of each hyperparameter"
    pictures, rows = [], []
    for target, words in (("metric", f"supernet {run.metric.replace('_', ' ')}"), ("skips", "few skip connections")):
        result = importances(run, target)
        if not result:
            continue
        values = [(each.label, each.ped, f"{each.label}: {each.ped:.3f} of PED-ANOVA's total") for each in result]
        pictures.append(bars("share of importance, PED-ANOVA", values, f"for {words}"))
        rows += [
            [words, each.label, f"{each.ped:.3f}", "-" if each.fanova is None else f"{each.fanova:.3f}", str(each.n)]
            for each in result
        ]
    if not pictures:
        return missing("importance", title, reasons(run))
    caption = (
        f"Bars: {PED}, over all completed trials; a setting that exists under one option only counts where it exists. "
        f"The table adds {FANOVA}, for each setting over the trials in which it exists (from {FEWEST} on). "
        "The two answer different questions and need not agree. Neither has an interval: the bar of the search seed, "
        "which is luck, "
        "shows how large a share means nothing."
    )
    headers = ["for", "hyperparameter", "PED-ANOVA", "fANOVA", "trials with it"]
    return Figure("importance", title, caption, pictures, headers, rows)


def effects(run: Run) -> Figure:
    """Shows each setting against the metric and the skips: means with intervals, or points if there are many values."""
    title = "What each hyperparameter does"
    pictures, rows = [], []
    for setting in run.settings:
        for outcome in measured(run):
            units = [
                (search.choices[setting.name], score, search.id if run.configurations else f"trial {search.id}")
                for search, score in run.units(outcome.value)
                if setting.name in search.choices
            ]
            if len(units) < 2:
                continue
            if setting.trend:
                pictures.append(_points(setting, units, outcome))
            else:
                picture, numbers = _means(setting, units, outcome)
                pictures.append(picture)
                rows += numbers
    if not pictures:
        return missing("effects", title, "nothing was swept, or fewer than two trials completed")
    caption = (
        "Completed searches. Points are single trials; a bar with a cap is a mean over trials (search seeds and "
        "other settings differ) with Student's 95 % interval. The sentences above compare at equal seeds and settings "
        "instead."
    )
    if run.configurations:
        caption = (
            "Points are configurations, each the mean over its completed search seeds; a bar with a cap is a mean over "
            "configurations (other settings differ) with Student's 95 % interval. n counts configurations. The "
            "sentences above compare at equal settings instead."
        )
    headers = ["hyperparameter", "value", "of", "mean", "std", "n", "95 % interval"]
    return Figure("effects", title, caption, pictures, headers, rows)


def _points(setting: Setting, units: Sequence[tuple[object, float, str]], outcome: Measured) -> Markup:
    name, share = outcome.name, outcome.share
    x, y = plot_area(
        [value for value, _, _ in units if is_number(value)],
        [unit[1] for unit in units],
        log_x=setting.log,
        percent_y=share,
        whole_x=all(isinstance(value, int) for value in setting.values),
    )
    label = f"{setting.label}{' (logarithmic)' if setting.log else ''}"
    chart = Chart(f"{name} against {setting.label}, {len(units)} points", x, y, label, name + (", %" if share else ""))
    for at, value, trial in units:
        chart.mark(
            (x(at), y(value)),
            COLOURS[0],
            title=f"{trial}: {number(at)}, {number(value, 4)}",
            size=3.4,
            opacity=0.55,
        )
    return chart.svg()


def _means(
    setting: Setting, units: Sequence[tuple[object, float, str]], outcome: Measured
) -> tuple[Markup, list[list[str]]]:
    name, share = outcome.name, outcome.share
    levels = [str(value) for value in setting.values]
    x, y = plot_area(levels, [unit[1] for unit in units], percent_y=share, categories=True)
    alt = f"{name} for each value of {setting.label}"
    chart = Chart(alt, x, y, setting.label, name + (", %" if share else ""), turn=len(levels) > 4)
    rows = []
    for level in levels:
        here = [(value, trial) for at, value, trial in units if str(at) == level]
        mean = stats.mean_of([value for value, _ in here], outcome.limits)
        if mean is None:
            continue
        for index, (value, trial) in enumerate(here):
            shift = ((index * 7) % 11 - 5) * 1.6
            chart.mark((x(level) + shift, y(value)), SOFT, title=f"{trial}: {number(value, 4)}", size=2.4, opacity=0.35)
        whisker(chart, x(level) + 22, mean, y, COLOURS[0])
        shown = [percent(v) if share else number(v) for v in (mean.value, mean.std or 0.0)]
        interval = "none: n is 1"
        if mean.low is not None and mean.high is not None:
            interval = " to ".join(percent(v) if share else number(v) for v in (mean.low, mean.high))
        rows.append([setting.label, level, name, shown[0], shown[1] if mean.n > 1 else "-", str(mean.n), interval])
    return chart.svg(), rows


def whisker(
    chart: Chart,
    at: float,
    mean: stats.Mean,
    y: Callable[[float], float],
    colour: str,
    shape: str = "square",
    cap: float = 5,
) -> None:
    """Draws a mean with its interval. The line is cut off at the axis's end."""
    if mean.low is not None and mean.high is not None:
        low, high = (min(max(y(v), 26.0), HEIGHT - 46.0) for v in (mean.low, mean.high))
        chart.line([(at, low), (at, high)], colour, width=1.8)
        for end in (low, high):
            chart.line([(at - cap, end), (at + cap, end)], colour, width=1.8)
    interval = "" if mean.low is None else f", 95 % interval {number(mean.low, 4)} to {number(mean.high, 4)}"
    chart.mark((at, y(mean.value)), colour, shape, f"mean {number(mean.value, 4)}, n = {mean.n}{interval}", 4.2)
