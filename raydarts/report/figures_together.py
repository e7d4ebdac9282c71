"""The report's figures of settings together: xi, epsilon and order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from raydarts.report.figures import Figure, Picture, missing
from raydarts.report.figures_sweep import Measured, measured, unit_name
from raydarts.report.gather import Run, Searched
from raydarts.report.plotting import (
    COLOURS,
    DASHES,
    MARKERS,
    SOFT,
    Trace,
    axis,
    categories,
    chart,
    colour_bar,
    interval,
    lines,
    room,
    tidy,
    whiskers,
)
from raydarts.report.swept import Setting, is_number
from raydarts.report.wording import number

_GRID = 40  # points of an interpolated area, in each direction
_FEWEST_VALUES = 3  # of xi and of epsilon, for an interpolated area


def _xis(run: Run) -> list[Setting]:
    return [setting for setting in run.settings if setting.label.split(" ")[0].rpartition(".")[2] == "xi"]


def _order(xi: Setting) -> str:
    return xi.label.split("[")[-1].rstrip("]") if "[" in xi.label else "second order"


def interaction(run: Run) -> Figure:
    """Shows xi across and epsilon as lines, one picture for each second-order estimator, with first order beside."""
    title = "Interaction of xi, epsilon and order"
    orders = run.setting("search.estimator")
    xis = _xis(run)
    if not xis:
        return missing("interaction", title, "xi was not swept in this run")
    pictures, rows = [], []
    for xi in xis:
        epsilon = run.setting(f"{xi.name.rsplit('.', 1)[0]}.epsilon")
        for of in measured(run):
            known = run.units(of.value)
            units = [(search, value) for search, value in known if xi.name in search.choices]
            others = [(search, value) for search, value in known if xi.name not in search.choices and orders]
            if len(units) < 2:
                continue
            picture, numbers = _interaction(xi, epsilon, units, others, of)
            pictures.append(picture)
            rows += numbers
    if not pictures:
        return missing("interaction", title, "fewer than two completed trials have xi")
    caption = (
        f"Means over completed {run.unit} with Student's 95 % interval (none where n is 1). Many values of a setting "
        "are put into ranges with equally many trials. First order has no xi and stands at the left. No test is made "
        "here. A whisker that reaches the edge of a chart goes on beyond it."
    )
    headers = ["of", "order", "xi", "epsilon", "mean", "n", "95 % interval"]
    return Figure("interaction", title, caption, pictures, headers, rows)


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


Unit = tuple[Searched, float]


def _interaction(
    xi: Setting, epsilon: Setting | None, units: Sequence[Unit], others: Sequence[Unit], of: Measured
) -> tuple[Picture, list[list[str]]]:
    across = grouped(xi, [search.choices[xi.name] for search, _ in units], 4)
    of_epsilon: dict[object, str] = {None: "epsilon fixed"}
    if epsilon is not None:
        values = [search.choices[epsilon.name] for search, _ in units]
        of_epsilon = {value: f"epsilon {name}" for value, name in grouped(epsilon, values, 3).items()}
    first = ", ".join(dict.fromkeys(str(search.choices.get("search.estimator", "no xi")) for search, _ in others))
    columns = [*([first] if others else []), *_in_order(across)]
    order = _order(xi)
    traces: list[Trace] = []
    rows: list[list[str]] = []
    ends: list[float] = []

    def add(name: str, cells: Sequence[tuple[str, Sequence[Unit]]], index: int | None, shift: float) -> None:
        """Adds one line of means over columns, and its numbers."""
        at, means, hover = [], [], []
        for column, members in cells:
            mean = of.mean([value for _, value in members])
            if mean is None:
                continue
            at.append(columns.index(column) + shift)
            means.append(mean)
            ends.append(of.scale * mean.value)
            ends.extend(of.scale * value for _, value in members)
            hover.append(lines(f"xi {column}" if index is not None else column, name, interval(mean, of.show)))
            value, _, n, bounds = of.cells(mean)
            rows.append([of.name, column if index is None else order, column, name, value, n, bounds])
        colour = SOFT if index is None else COLOURS[index % 8]
        line = None if index is None else {"dash": DASHES[index % 8]}
        symbol = MARKERS[(index or 0) % 8]
        shown = first if index is None else name
        traces.append(whiskers(at, means, hover, name=shown, colour=colour, symbol=symbol, scale=of.scale, line=line))

    if others:
        add("-", [(first, others)], None, 0)
    names = _in_order(of_epsilon)
    for index, name in enumerate(names):
        here = [unit for unit in units if epsilon is None or of_epsilon[unit[0].choices[epsilon.name]] == name]
        shift = (index - (len(names) - 1) / 2) * 0.1
        cells = [(c, [u for u in here if across[u[0].choices[xi.name]] == c]) for c in _in_order(across)]
        add(name, cells, index, shift)
    plot = chart(
        traces, x=categories(f"xi [{order}]", columns), y=axis(of.label, range=room(ends)), legend=True, height=380
    )
    return Picture(f"{of.name}, {order}", f"{of.name} by xi and epsilon, {order}", plot), rows


def contour(run: Run) -> Figure:
    """Shows the supernet's figure over xi and epsilon: as an area between the trials, or as a table of means."""
    title = "xi and epsilon together"
    pictures: list[Picture] = []
    rows: list[list[str]] = []
    interpolated = False
    for xi in _xis(run):
        epsilon = run.setting(f"{xi.name.rsplit('.', 1)[0]}.epsilon")
        if epsilon is None:
            continue
        for of in measured(run):
            units = [u for u in run.units(of.value) if xi.name in u[0].choices and epsilon.name in u[0].choices]
            if len(units) < 2:
                continue
            numeric = [u for u in units if is_number(u[0].choices[xi.name]) and is_number(u[0].choices[epsilon.name])]
            few = min(len({u[0].choices[setting.name] for u in numeric}) for setting in (xi, epsilon))
            if few >= _FEWEST_VALUES and len(numeric) == len(units):
                pictures.append(_area(run, xi, epsilon, units, of))
                interpolated = True
            else:
                picture, numbers = _table(xi, epsilon, units, of)
                pictures.append(picture)
                rows += numbers
    if not pictures:
        return missing(
            "xi-epsilon", title, "xi and epsilon were not swept together, or fewer than two trials have both"
        )
    caption = (
        f"Means over completed {run.unit} in cells of xi and epsilon; many values of a setting are put into ranges "
        "with equally many trials. The number in a cell is its mean, n is on hover; an empty cell has no trial."
    )
    if interpolated:
        caption = (
            f"Marks are completed {run.unit}. Colours between them are interpolated linearly and are no measurements; "
            "where no trials lie around, nothing is drawn."
        )
    headers = ["of", "xi", "epsilon", "mean", "std", "n", "95 % interval"] if rows else []
    return Figure("xi-epsilon", title, caption, pictures, headers, rows)


def _area(run: Run, xi: Setting, epsilon: Setting, units: Sequence[Unit], of: Measured) -> Picture:
    import numpy as np  # noqa: PLC0415
    from scipy.interpolate import griddata  # noqa: PLC0415 - takes a second to import

    def place(setting: Setting, value: float) -> float:
        return math.log10(value) if setting.log else value

    places: dict[tuple[float, float], list[float]] = {}
    for search, value in units:
        x, y = (float(search.choices[s.name]) for s in (xi, epsilon))  # type: ignore[arg-type]
        places.setdefault((place(xi, x), place(epsilon, y)), []).append(of.scale * value)
    at = np.array(list(places))
    means = [fmean(values) for values in places.values()]
    low, high = at.min(axis=0), at.max(axis=0)
    grid = [np.linspace(a, b, _GRID) for a, b in zip(low, high, strict=True)]
    whole = (at - low) / (high - low)
    across, up = np.meshgrid(np.linspace(0, 1, _GRID), np.linspace(0, 1, _GRID))
    heights = griddata(whole, np.array(means), (across, up), method="linear")

    def back(setting: Setting, values: Sequence[float]) -> list[float | None]:
        return [tidy(10**value if setting.log else value) for value in values]

    area: Trace = {
        "type": "contour",
        "x": back(xi, grid[0].tolist()),
        "y": back(epsilon, grid[1].tolist()),
        "z": [[tidy(value) for value in row] for row in heights.tolist()],
        "colorscale": "Viridis",
        "connectgaps": False,
        "line": {"width": 0.5},
        "hoverinfo": "skip",
        "colorbar": colour_bar(of.label),
    }
    hover = [
        lines(
            unit_name(run, search),
            f"xi {number(search.choices[xi.name])}, epsilon {number(search.choices[epsilon.name])}",
            of.show(value),
        )
        for search, value in units
    ]
    marks: Trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [search.choices[xi.name] for search, _ in units],
        "y": [search.choices[epsilon.name] for search, _ in units],
        "marker": {"color": "#ffffff", "size": 7, "line": {"color": "#000000", "width": 1}},
        "hovertext": hover,
        "hoverinfo": "text",
        "customdata": [run.trials_of(search) for search, _ in units],
        "showlegend": False,
    }
    plot = chart([area, marks], x=axis(xi.label, log=xi.log), y=axis(epsilon.label, log=epsilon.log), height=400)
    alt = f"Contours of {of.name} over xi and epsilon, {_order(xi)}, from {len(units)} points"
    return Picture(f"{of.name}, {_order(xi)}", alt, plot)


def _table(xi: Setting, epsilon: Setting, units: Sequence[Unit], of: Measured) -> tuple[Picture, list[list[str]]]:
    across = grouped(xi, [search.choices[xi.name] for search, _ in units], 4)
    up = grouped(epsilon, [search.choices[epsilon.name] for search, _ in units], 4)
    columns, levels = _in_order(across), _in_order(up)
    z: list[list[float | None]] = []
    shown: list[list[str]] = []
    hover: list[list[str]] = []
    rows: list[list[str]] = []
    for level in levels:
        means = [
            of.mean(
                [
                    value
                    for search, value in units
                    if across[search.choices[xi.name]] == column and up[search.choices[epsilon.name]] == level
                ]
            )
            for column in columns
        ]
        z.append([None if mean is None else tidy(of.scale * mean.value) for mean in means])
        shown.append(["" if mean is None else of.show(mean.value) for mean in means])
        hover.append(
            [
                "" if mean is None else lines(f"xi {column}, epsilon {level}", interval(mean, of.show))
                for column, mean in zip(columns, means, strict=True)
            ]
        )
        rows += [
            [of.name, column, level, *of.cells(mean)]
            for column, mean in zip(columns, means, strict=True)
            if mean is not None
        ]
    trace: Trace = {
        "type": "heatmap",
        "z": z,
        "text": shown,
        "texttemplate": "%{text}",
        "hovertext": hover,
        "hoverinfo": "text",
        "hoverongaps": False,
        "colorscale": "Viridis",
        "xgap": 2,
        "ygap": 2,
        "colorbar": colour_bar(of.label),
    }
    plot = chart([trace], x=categories(xi.label, columns), y=categories(epsilon.label, levels, 14), height=380)
    alt = f"Mean {of.name} in cells of xi and epsilon, {_order(xi)}"
    return Picture(f"{of.name}, {_order(xi)}", alt, plot), rows
