"""The report's pictures of hyperparameters: importance, what each does, interactions, parallel coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from raydarts.report import stats
from raydarts.report.figures import Figure, bars, is_share, missing, show_metric
from raydarts.report.gather import Run, Searched, Setting, is_number
from raydarts.report.importance import FANOVA, FEWEST, PED, importances, reasons
from raydarts.report.svg import COLOURS, DASHES, HEIGHT, MARKERS, SOFT, Bands, Chart, Scale, plot_area, span
from raydarts.report.wording import number, percent

Value = Callable[[Searched], float | None]
_WIDE = 900


def measured(run: Run) -> list[tuple[str, bool, Value]]:
    """What is drawn against settings: name, whether it is told in percent, and where it is found."""
    return [
        (f"supernet {run.metric.replace('_', ' ')}", is_share(run), lambda search: search.metric),
        ("skip connections", False, lambda search: None if search.skips is None else float(search.skips)),
    ]


def importance(run: Run) -> Figure:
    title = "Importance of each hyperparameter"
    pictures, rows = [], []
    for target, words in (("metric", f"supernet {run.metric.replace('_', ' ')}"), ("skips", "few skip connections")):
        found = importances(run, target)
        if not found:
            continue
        values = [(each.label, each.ped, f"{each.label}: {each.ped:.3f} of PED-ANOVA's total") for each in found]
        pictures.append(bars("share of importance, PED-ANOVA", values, f"for {words}"))
        rows += [
            [words, each.label, f"{each.ped:.3f}", "-" if each.fanova is None else f"{each.fanova:.3f}", str(each.n)]
            for each in found
        ]
    if not pictures:
        return missing("importance", title, reasons(run))
    caption = (
        f"Bars: {PED}, over all completed trials; a setting that exists under one option only counts where it exists. "
        f"The table adds {FANOVA}, for each setting over the trials in which it exists (from {FEWEST} on). The two answer "
        "different questions and need not agree. Neither has an interval: the bar of the search seed, which is luck, "
        "shows how large a share means nothing."
    )
    headers = ["for", "hyperparameter", "PED-ANOVA", "fANOVA", "trials with it"]
    return Figure("importance", title, caption, pictures, headers, rows)


def effects(run: Run) -> Figure:
    """Each setting against the metric and the skips: means with intervals, or points where values are many."""
    title = "What each hyperparameter does"
    pictures, rows = [], []
    for setting in run.settings:
        for name, share, value in measured(run):
            units = [
                (search.choices[setting.name], float(found), search.id)
                for search in run.completed
                if setting.name in search.choices and (found := value(search)) is not None
            ]
            if len(units) < 2:
                continue
            if setting.trend:
                pictures.append(_points(setting, units, name, share))
            else:
                picture, told = _means(setting, units, name, share)
                pictures.append(picture)
                rows += told
    if not pictures:
        return missing("effects", title, "nothing was swept, or fewer than two trials completed")
    caption = (
        "Completed searches. Points are single trials; a bar with a cap is a mean over trials (search seeds and other "
        "settings differ) with Student's 95 % interval. The sentences above compare at equal seeds and settings instead."
    )
    headers = ["hyperparameter", "value", "of", "mean", "std", "n", "95 % interval"]
    return Figure("effects", title, caption, pictures, headers, rows)


def _points(setting: Setting, units: Sequence[tuple[Any, float, str]], name: str, share: bool) -> Markup:
    x, y = plot_area([unit[0] for unit in units], [unit[1] for unit in units], log_x=setting.log, percent_y=share)
    label = f"{setting.label}{' (logarithmic)' if setting.log else ''}"
    chart = Chart(f"{name} against {setting.label}, {len(units)} trials", x, y, label, name + (", %" if share else ""))
    for at, value, trial in units:
        chart.mark((x(at), y(value)), COLOURS[0], title=f"trial {trial}: {number(at)}, {number(value, 4)}", size=3.4,
                   opacity=0.55)  # fmt: skip
    return chart.svg()


def _means(
    setting: Setting, units: Sequence[tuple[Any, float, str]], name: str, share: bool
) -> tuple[Markup, list[list[str]]]:
    levels = [str(value) for value in setting.values]
    x, y = plot_area(levels, [unit[1] for unit in units], percent_y=share, categories=True)
    alt = f"{name} for each value of {setting.label}"
    chart = Chart(alt, x, y, setting.label, name + (", %" if share else ""), turn=len(levels) > 4)
    rows = []
    for level in levels:
        own = [(value, trial) for at, value, trial in units if str(at) == level]
        mean = stats.mean_of([value for value, _ in own])
        if mean is None:
            continue
        for index, (value, trial) in enumerate(own):
            shift = ((index * 7) % 11 - 5) * 1.6
            chart.mark((x(level) + shift, y(value)), SOFT, title=f"trial {trial}: {number(value, 4)}", size=2.4,
                       opacity=0.35)  # fmt: skip
        whisker(chart, x(level) + 22, mean, y, COLOURS[0])
        shown = [percent(v) if share else number(v) for v in (mean.value, mean.std or 0.0)]
        interval = "none: n is 1"
        if mean.low is not None and mean.high is not None:
            interval = " to ".join(percent(v) if share else number(v) for v in (mean.low, mean.high))
        rows.append([setting.label, level, name, shown[0], shown[1] if mean.n > 1 else "-", str(mean.n), interval])
    return chart.svg(), rows


def whisker(
    chart: Chart, at: float, mean: stats.Mean, y: Any, colour: str, shape: str = "square", cap: float = 5
) -> None:
    """A mean with its interval, the line cut off where the axis ends."""
    if mean.low is not None and mean.high is not None:
        low, high = (min(max(y(v), 26.0), HEIGHT - 46.0) for v in (mean.low, mean.high))
        chart.line([(at, low), (at, high)], colour, width=1.8)
        for end in (low, high):
            chart.line([(at - cap, end), (at + cap, end)], colour, width=1.8)
    interval = "" if mean.low is None else f", 95 % interval {number(mean.low, 4)} to {number(mean.high, 4)}"
    chart.mark((at, y(mean.value)), colour, shape, f"mean {number(mean.value, 4)}, n = {mean.n}{interval}", 4.2)


def interaction(run: Run) -> Figure:
    """xi across, epsilon as lines, one picture for each estimator of second order; first order beside them."""
    title = "Interaction of xi, epsilon and order"
    orders = run.setting("search.estimator")
    xis = [setting for setting in run.settings if setting.label.split(" ")[0].endswith("xi")]
    if not xis:
        return missing("interaction", title, "xi was not swept in this run")
    pictures, rows = [], []
    for xi in xis:
        under = xi.name.rsplit(".", 1)[0]
        epsilon = run.setting(f"{under}.epsilon")
        for name, share, value in measured(run):
            units = [s for s in run.completed if xi.name in s.choices and value(s) is not None]
            others = [s for s in run.completed if xi.name not in s.choices and value(s) is not None and orders]
            if len(units) < 2:
                continue
            picture, told = _interaction(run, xi, epsilon, units, others, name, share, value)
            pictures.append(picture)
            rows += told
    if not pictures:
        return missing("interaction", title, "fewer than two completed trials have xi")
    caption = (
        "Means over completed searches with Student's 95 % interval (none where n is 1). Many values of a setting are put "
        "into ranges with equally many trials. First order has no xi and stands at the left. No test is made here."
    )
    return Figure(
        "interaction", title, caption, pictures, ["of", "order", "xi", "epsilon", "mean", "n", "95 % interval"], rows
    )


def grouped(setting: Setting, values: Sequence[Any], most: int) -> dict[Any, str]:
    """Value -> the name of its group: itself, or a range that holds about equally many of `values`."""
    distinct = sorted({v for v in values if is_number(v)})
    if not setting.numeric or len(distinct) <= most:
        return {value: number(value) if is_number(value) else str(value) for value in values}
    ordered = sorted(v for v in values if is_number(v))
    edges = [ordered[len(ordered) * index // most] for index in range(1, most)]
    bounds = [distinct[0], *edges, distinct[-1]]
    return {
        value: f"{number(bounds[(g := sum(value >= edge for edge in edges))], 2)} to {number(bounds[g + 1], 2)}"
        for value in values
    }


def _in_order(groups: dict[Any, str]) -> list[str]:
    """The groups' names, numbers ascending first."""
    numbers = sorted(value for value in groups if is_number(value))
    others = [value for value in groups if not is_number(value)]
    return list(dict.fromkeys(groups[value] for value in [*numbers, *others]))


def _interaction(
    run: Run, xi: Setting, epsilon: Setting | None, units: list[Searched], others: list[Searched], name: str,
    share: bool, value: Value,
) -> tuple[Markup, list[list[str]]]:  # fmt: skip
    across = grouped(xi, [s.choices[xi.name] for s in units], 4)
    ordered = _in_order(across)
    lines: dict[Any, str] = {None: "epsilon fixed"}
    if epsilon is not None:
        lines = grouped(epsilon, [s.choices.get(epsilon.name) for s in units], 3)
    names = _in_order(lines)
    first = f"none ({', '.join(dict.fromkeys(str(s.choices.get('search.estimator', 'other')) for s in others))})"
    columns = [first, *ordered] if others else ordered
    order = xi.label.split("[")[-1].rstrip("]") if "[" in xi.label else "this estimator"
    x, y = plot_area(columns, [float(value(s) or 0) for s in [*units, *others]], percent_y=share, categories=True)
    chart = Chart(
        f"{name} by xi and epsilon under {order}", x, y, f"xi [{order}]", name + (", %" if share else ""),
        turn=len(columns) > 4,
    )  # fmt: skip
    rows: list[list[str]] = []

    def cell(own: list[Searched], column: str, line: str, shift: float, index: int) -> tuple[float, float] | None:
        mean = stats.mean_of([float(value(s) or 0) for s in own])
        if mean is None:
            return None
        colour = SOFT if index < 0 else COLOURS[index % len(COLOURS)]
        whisker(chart, x(column) + shift, mean, y, colour, MARKERS[index % len(MARKERS)], 3)
        shown = [percent(v) if share else number(v) for v in (mean.value, mean.low or 0.0, mean.high or 0.0)]
        interval = "none: n is 1" if mean.low is None else f"{shown[1]} to {shown[2]}"
        rows.append([name, first if index < 0 else order, column, line, shown[0], str(mean.n), interval])
        return x(column) + shift, y(mean.value)

    if others:
        cell(others, first, "-", 0, -1)
    for index, line in enumerate(names):
        own = [s for s in units if epsilon is None or lines[s.choices.get(epsilon.name)] == line]
        shift = (index - (len(names) - 1) / 2) * 10
        path = [cell([s for s in own if across[s.choices[xi.name]] == c], c, line, shift, index) for c in ordered]
        known = [point for point in path if point is not None]
        if len(known) > 1:
            chart.line(known, COLOURS[index % 8], DASHES[index % 8], 1.6)
        words = line if epsilon is None else f"epsilon {line}"
        chart.key(words, COLOURS[index % 8], shape=MARKERS[index % 8])
    return chart.svg(), rows


def parallel(run: Run) -> Figure:
    """Every completed trial as a line through its settings to what it measured."""
    title = "All trials in parallel coordinates"
    units = [search for search in run.completed if search.metric is not None and search.skips is not None]
    if len(units) < 2 or not run.settings:
        return missing("parallel", title, "nothing was swept, or fewer than two trials completed")
    settings = list(run.settings[:8])
    tall, top, bottom = 380, 46, 330
    names = [s.label for s in settings] + ["skips", run.metric.replace("_", " ")]
    axes: list[Any] = [_upright(s, units, bottom, top) for s in settings]
    axes.append(Scale(*span([float(s.skips or 0) for s in units]), bottom, top))
    axes.append(Scale(*span([float(s.metric or 0) for s in units]), bottom, top, percent=is_share(run)))
    step = (_WIDE - 190) / (len(names) - 1)
    at = [70 + index * step for index in range(len(names))]

    class _Blank:
        def __call__(self, value: object) -> float:
            return 0.0

        def ticks(self) -> list[tuple[float, str]]:
            return []

    chart = Chart(
        f"Parallel coordinates of {len(units)} completed trials over {', '.join(names)}", _Blank(), _Blank(),
        width=_WIDE, height=tall, left=0, right=0, bottom=tall - bottom - 12, base=False,
    )  # fmt: skip
    ranked = sorted(units, key=lambda s: (s.metric or 0) * (1 if run.mode == "max" else -1))
    best = set(map(id, ranked[-max(1, len(units) // 10) :]))
    for search in ranked:
        values = [search.choices.get(s.name) for s in settings]
        heights = [axis(_held(s, v)) for axis, s, v in zip(axes, settings, values, strict=False)]
        heights += [axes[-2](float(search.skips or 0)), axes[-1](float(search.metric or 0))]
        shown = "; ".join(f"{s.label} {number(v)}" for s, v in zip(settings, values, strict=True) if v is not None)
        told = f"trial {search.id}: {shown}; {search.skips} skips; {show_metric(run, search.metric or 0)}"
        high = id(search) in best
        chart.line(list(zip(at, heights, strict=True)), COLOURS[1] if high else COLOURS[0], "", 2 if high else 1.2,
                   0.9 if high else 0.28, told)  # fmt: skip
    for index, (axis, name, place) in enumerate(zip(axes, names, at, strict=True)):
        chart.line([(place, top - 6), (place, bottom + 6)], SOFT, width=1.2)
        chart.text((place, 16 if index % 2 else 32), name if len(name) < 24 else name[:22] + "…", "middle")
        for height, words in axis.ticks():
            chart.text((place + 5, height + 4), words[:20], size=11)
    chart.key("best tenth by the supernet's score", COLOURS[1])
    chart.key("other completed trials", COLOURS[0])
    caption = (
        "A line a trial. 'none' is where a setting does not exist under the option chosen. The numbers: All trials."
    )
    return Figure("parallel", title, caption, [chart.svg()], wide=True)


def _upright(setting: Setting, units: Sequence[Searched], bottom: float, top: float) -> Any:
    if setting.trend:
        low, high = span([float(v) for v in setting.values], setting.log)
        return Scale(low, high, bottom - 30, top, setting.log)
    absent = ["none"] if any(setting.name not in search.choices for search in units) else []
    return Bands([*absent, *(number(value) for value in setting.values)], bottom, top)


def _held(setting: Setting, value: Any) -> Any:
    if setting.trend:
        return float(value) if value is not None else _below(setting)
    return "none" if value is None else number(value)


def _below(setting: Setting) -> float:
    """Where a trial without the setting passes the axis: below its lowest value."""
    low, high = span([float(v) for v in setting.values], setting.log)
    return low / (high / low) ** 0.08 if setting.log else low - 0.08 * (high - low)
