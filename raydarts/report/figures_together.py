"""The report's pictures of settings together: xi, epsilon and order, and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from raydarts.report import stats
from raydarts.report.axes import Bands, NoAxis, Scale, plot_area, span
from raydarts.report.figures import Figure, is_share, missing, show_metric
from raydarts.report.figures_sweep import Measured, measured, whisker
from raydarts.report.gather import Run, Searched
from raydarts.report.svg import COLOURS, DASHES, MARKERS, SOFT, Chart
from raydarts.report.swept import Setting, is_number
from raydarts.report.wording import number, percent

_WIDE = 900


def interaction(run: Run) -> Figure:
    """Shows xi across and epsilon as lines, one picture for each second-order estimator, with first order beside."""
    title = "Interaction of xi, epsilon and order"
    orders = run.setting("search.estimator")
    xis = [setting for setting in run.settings if setting.label.split(" ")[0].endswith("xi")]
    if not xis:
        return missing("interaction", title, "xi was not swept in this run")
    pictures, rows = [], []
    for xi in xis:
        under = xi.name.rsplit(".", 1)[0]
        epsilon = run.setting(f"{under}.epsilon")
        for each in measured(run):
            known = run.units(each.value)
            units = [s for s, _ in known if xi.name in s.choices]
            others = [s for s, _ in known if xi.name not in s.choices and orders]
            if len(units) < 2:
                continue
            picture, numbers = _interaction(xi, epsilon, units, others, _of_units(each, known))
            pictures.append(picture)
            rows += numbers
    if not pictures:
        return missing("interaction", title, "fewer than two completed trials have xi")
    caption = (
        f"Means over completed {run.unit} with Student's 95 % interval (none where n is 1). Many values of a setting "
        "are put into ranges with equally many trials. First order has no xi and stands at the left. No test is made "
        "here."
    )
    return Figure(
        "interaction", title, caption, pictures, ["of", "order", "xi", "epsilon", "mean", "n", "95 % interval"], rows
    )


def _of_units(outcome: Measured, known: Sequence[tuple[Searched, float]]) -> Measured:
    """Returns the outcome with the values of these units. A configuration's is the mean of its searches."""
    scores = {search.id: score for search, score in known}
    return replace(outcome, value=lambda search: scores[search.id])


def grouped(setting: Setting, values: Sequence[object], most: int) -> dict[object, str]:
    """Returns value -> the name of its group: itself, or a range with about equally many of `values`."""
    distinct = sorted({v for v in values if is_number(v)})
    if not setting.numeric or len(distinct) <= most:
        return {value: number(value) if is_number(value) else str(value) for value in values}
    ordered = sorted(v for v in values if is_number(v))
    edges = [ordered[len(ordered) * index // most] for index in range(1, most)]
    bounds = [distinct[0], *edges, distinct[-1]]
    return {
        value: f"{number(bounds[(g := sum(value >= edge for edge in edges))], 2)} to {number(bounds[g + 1], 2)}"
        for value in ordered
    }


def _in_order(groups: Mapping[object, str]) -> list[str]:
    """Returns the groups' names, numbers first in ascending order."""
    numbers = sorted(value for value in groups if is_number(value))
    others = [value for value in groups if not is_number(value)]
    return list(dict.fromkeys(groups[value] for value in [*numbers, *others]))


@dataclass
class _Cells:
    """One picture of means by xi and epsilon, filled cell by cell."""

    outcome: Measured
    order: str
    chart: Chart
    rows: list[list[str]]

    def add(
        self, searches: Sequence[Searched], column: str, line: str, shift: float = 0, index: int | None = None
    ) -> tuple[float, float] | None:
        """Draws and records one mean. Returns its position, or None if there is no trial."""
        mean = stats.mean_of([float(self.outcome.value(search) or 0) for search in searches], self.outcome.limits)
        if mean is None:
            return None
        colour = SOFT if index is None else COLOURS[index % len(COLOURS)]
        at = self.chart.x(column) + shift
        whisker(self.chart, at, mean, self.chart.y, colour, MARKERS[(index or 0) % len(MARKERS)], 3)
        shown = [
            percent(v) if self.outcome.share else number(v) for v in (mean.value, mean.low or 0.0, mean.high or 0.0)
        ]
        interval = "none: n is 1" if mean.low is None else f"{shown[1]} to {shown[2]}"
        order = column if index is None else self.order
        self.rows.append([self.outcome.name, order, column, line, shown[0], str(mean.n), interval])
        return at, self.chart.y(mean.value)


def _interaction(
    xi: Setting,
    epsilon: Setting | None,
    units: Sequence[Searched],
    others: Sequence[Searched],
    outcome: Measured,
) -> tuple[Markup, list[list[str]]]:
    name, share, value = outcome.name, outcome.share, outcome.value
    across = grouped(xi, [s.choices[xi.name] for s in units], 4)
    lines: dict[object, str] = {None: "epsilon fixed"}
    if epsilon is not None:
        lines = {v: f"epsilon {g}" for v, g in grouped(epsilon, [s.choices[epsilon.name] for s in units], 3).items()}
    first = ", ".join(dict.fromkeys(str(s.choices.get("search.estimator", "no xi")) for s in others))
    columns = [*([first] if others else []), *_in_order(across)]
    order = xi.label.split("[")[-1].rstrip("]") if "[" in xi.label else "second order"
    x, y = plot_area(columns, [float(value(s) or 0) for s in [*units, *others]], percent_y=share, categories=True)
    label = name + (", %" if share else "")
    chart = Chart(f"{name} by xi and epsilon, {order}", x, y, f"xi [{order}]", label, turn=len(columns) > 4)
    cells = _Cells(outcome, order, chart, [])
    if others:
        cells.add(others, first, "-")
    names = _in_order(lines)
    for index, line in enumerate(names):
        here = [s for s in units if epsilon is None or lines[s.choices[epsilon.name]] == line]
        shift = (index - (len(names) - 1) / 2) * 10
        path = [
            cells.add([s for s in here if across[s.choices[xi.name]] == column], column, line, shift, index)
            for column in _in_order(across)
        ]
        known = [point for point in path if point is not None]
        if len(known) > 1:
            chart.line(known, COLOURS[index % 8], DASHES[index % 8], 1.6)
        chart.key(line, COLOURS[index % 8], shape=MARKERS[index % 8])
    return chart.svg(), cells.rows


_TOP, _BOTTOM = 46, 330


def parallel(run: Run) -> Figure:
    """Shows every completed trial as a line through its settings to what it measured."""
    title = "All trials in parallel coordinates"
    units = [search for search in run.completed if search.metric is not None and search.skips is not None]
    if len(units) < 2 or not run.settings:
        return missing("parallel", title, "nothing was swept, or fewer than two trials completed")
    settings = list(run.settings[:8])
    names = [s.label for s in settings] + ["skips", run.metric.replace("_", " ")]
    axes: list[Scale | Bands] = [_upright(s, units) for s in settings]
    axes.append(Scale(*span([float(s.skips or 0) for s in units]), _BOTTOM, _TOP))
    axes.append(Scale(*span([float(s.metric or 0) for s in units]), _BOTTOM, _TOP, percent=is_share(run)))
    at = [70 + index * (_WIDE - 190) / (len(names) - 1) for index in range(len(names))]
    alt = f"Parallel coordinates of {len(units)} completed trials over {', '.join(names)}"
    chart = Chart(alt, NoAxis(), NoAxis(), width=_WIDE, height=380, left=0, right=0, bottom=38, base=False)
    ranked = sorted(units, key=lambda s: (s.order or 0) * run.supernet.sign)
    best = ranked[-max(1, len(units) // 10) :]
    for search in ranked:
        _trial_line(run, chart, settings, axes, at, search, any(search is other for other in best))
    for index, (axis, name, place) in enumerate(zip(axes, names, at, strict=True)):
        chart.line([(place, _TOP - 6), (place, _BOTTOM + 6)], SOFT, width=1.2)
        chart.text((place, 16 if index % 2 else 32), name if len(name) < 24 else name[:22] + "…", "middle")
        for height, words in axis.ticks():
            chart.text((place + 5, height + 4), words[:20], size=11)
    chart.key("best tenth by the supernet's score", COLOURS[1])
    chart.key("other completed trials", COLOURS[0])
    caption = "A line a trial. 'none' is where a setting does not exist under the option chosen."
    if len(run.settings) > len(settings):
        caption += f" Only the first {len(settings)} of {len(run.settings)} settings are drawn."
    return Figure("parallel", title, f"{caption} The numbers are in the table of all trials.", [chart.svg()], wide=True)


def _trial_line(
    run: Run,
    chart: Chart,
    settings: Sequence[Setting],
    axes: Sequence[Scale | Bands],
    at: Sequence[float],
    search: Searched,
    best: bool,
) -> None:
    values = [search.choices.get(s.name) for s in settings]
    heights = [axis(_held(s, v)) for axis, s, v in zip(axes, settings, values, strict=False)]
    heights += [axes[-2](float(search.skips or 0)), axes[-1](float(search.metric or 0))]
    shown = "; ".join(f"{s.label} {number(v)}" for s, v in zip(settings, values, strict=True) if v is not None)
    text = f"trial {search.id}: {shown}; {search.skips} skips; {show_metric(run, search.metric or 0)}"
    colour, width, opacity = (COLOURS[1], 2.0, 0.9) if best else (COLOURS[0], 1.2, 0.28)
    chart.line(list(zip(at, heights, strict=True)), colour, "", width, opacity, text)


def _upright(setting: Setting, units: Sequence[Searched]) -> Scale | Bands:
    if setting.trend:
        low, high = span([float(v) for v in setting.numbers], setting.log)
        return Scale(low, high, _BOTTOM - 30, _TOP, setting.log)
    absent = ["none"] if any(setting.name not in search.choices for search in units) else []
    return Bands([*absent, *(number(value) for value in setting.values)], _BOTTOM, _TOP)


def _held(setting: Setting, value: object) -> float | str:
    if setting.trend:
        return value if is_number(value) else _below(setting)
    return "none" if value is None else number(value)


def _below(setting: Setting) -> float:
    """Returns where a trial without the setting passes the axis: below its lowest value."""
    low, high = span([float(v) for v in setting.numbers], setting.log)
    return low / (high / low) ** 0.08 if setting.log else low - 0.08 * (high - low)
