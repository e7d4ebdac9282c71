"""The report's parallel coordinates: an axis in each row, a line for each completed trial.

The axes lie flat, so that long names fit above them, and a phone shows all of them. In the HTML report a reader drags
along an axis, which keeps the trials that pass there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from raydarts.report.figures import Figure, Picture, is_share, missing, show_metric, supernet_name
from raydarts.report.gather import Run, Searched
from raydarts.report.plotting import COLOURS, INK, SOFT, Trace, chart, lines, text, wrapped
from raydarts.report.swept import Setting, is_number
from raydarts.report.wording import number

_MOST = 12  # settings
_STEP = 68  # pixels from row to row
_START = 0.16
"""Where the values of a setting begin that some trials do not have. Trials without it pass at 0."""
_TICKS = 4
MARGIN = 18
"""Pixels left and right of the axes. The script of the report turns a pointer's position into one along an axis."""


class Tick(NamedTuple):
    at: float
    words: str


@dataclass(frozen=True)
class Row:
    """One axis: its name, where a trial passes it (0 to 1), and its ticks."""

    name: str
    place: Callable[[Searched], float]
    ticks: Sequence[Tick]


def parallel(run: Run) -> Figure:
    """Shows every completed trial as a line through its settings to what it measured."""
    title = "All trials in parallel coordinates"
    units = [search for search in run.completed if search.metric is not None and search.skips is not None]
    if len(units) < 2 or not run.settings:
        return missing("parallel", title, "nothing was swept, or fewer than two trials completed")
    settings = list(run.settings[:_MOST])
    share = is_share(run)
    skips = _numeric(
        "skip connections", [float(s.skips or 0) for s in units], lambda s: float(s.skips or 0), whole=True
    )
    metric = _numeric(
        supernet_name(run) + (", %" if share else ""),
        [float(s.metric or 0) for s in units],
        lambda s: float(s.metric or 0),
        scale=100.0 if share else 1.0,
    )
    rows = [*(_row(setting, units) for setting in settings), skips, metric]
    ranked = sorted(units, key=lambda s: (s.order or 0) * run.supernet.sign)
    best = {search.id for search in ranked[-max(1, len(units) // 10) :]}
    others = [search for search in ranked if search.id not in best]
    traces = [
        _lines(run, rows, settings, others, "other completed trials", COLOURS[0], 1.1, 0.35),
        _lines(run, rows, settings, [s for s in ranked if s.id in best], "best tenth by the supernet's score",
               COLOURS[1], 2.0, 0.9),
    ]  # fmt: skip
    plot = chart(
        traces,
        x={"visible": False, "range": [0, 1], "fixedrange": True},
        y={"visible": False, "range": [-(len(rows) - 0.5), 0.75], "fixedrange": True},
        height=90 + _STEP * len(rows),
        legend=True,
        dragmode=False,
        margin={"l": MARGIN, "r": MARGIN, "t": 60, "b": 10},
        shapes=[_rule(index) for index in range(len(rows))],
        annotations=[note for index, row in enumerate(rows) for note in _notes(index, row)],
    )
    alt = f"Parallel coordinates of {len(units)} completed trials over {', '.join(row.name for row in rows)}"
    caption = (
        "A line a trial, from its settings at the top to what it came to at the bottom. 'none' is where a setting does "
        "not exist under the option chosen. Drag along an axis to keep the trials that pass there: the other figures "
        "fade the rest, and the table of trials hides it. Click on the axis to undo this, on a line to open its trial."
    )
    if len(run.settings) > len(settings):
        caption += f" Only the first {len(settings)} of {len(run.settings)} settings are drawn."
    pictures = [Picture("parallel", alt, plot, kind="parallel")]
    return Figure("parallel", title, f"{caption} The numbers are in the table of all trials.", pictures, wide=True)


def _lines(
    run: Run,
    rows: Sequence[Row],
    settings: Sequence[Setting],
    searches: Sequence[Searched],
    name: str,
    colour: str,
    width: float,
    opacity: float,
) -> Trace:
    x: list[float | None] = []
    y: list[float | None] = []
    trials: list[str | None] = []
    hover: list[str] = []
    for search in searches:
        x += [*(round(row.place(search), 4) for row in rows), None]
        y += [*(-index for index in range(len(rows))), None]
        trials += [*(search.id for _ in rows), None]
        values = [*(search.choices.get(setting.name, "none") for setting in settings), search.skips]
        shown = [*map(number, values), show_metric(run, search.metric or 0)]
        hover += [
            lines(f"trial {search.id}", f"{row.name}: {value}") for row, value in zip(rows, shown, strict=True)
        ] + [""]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "customdata": trials,
        "hovertext": hover,
        "hoverinfo": "text",
        "line": {"color": colour, "width": width},
        "opacity": opacity,
    }


def _rule(index: int) -> dict[str, object]:
    ends = {"type": "line", "x0": 0, "x1": 1, "y0": -index, "y1": -index}
    return {**ends, "line": {"color": SOFT, "width": 1.4}, "layer": "above"}


def _notes(index: int, row: Row) -> list[dict[str, object]]:
    """Returns the axis's name above it and its ticks below it."""
    base: dict[str, object] = {"y": -index, "showarrow": False, "bgcolor": "rgba(255,255,255,0.75)"}
    name = {
        **base,
        "x": 0,
        "xanchor": "left",
        "yanchor": "bottom",
        "yshift": 4,
        "text": f"<b>{text(row.name, 60)}</b>",
        "font": {"size": 12, "color": INK},
    }
    width = max(5, 50 // max(1, len(row.ticks)))
    ticks = [
        {
            **base,
            "x": tick.at,
            "xanchor": "left" if tick.at < 0.06 else "right" if tick.at > 0.94 else "center",
            "yanchor": "top",
            "yshift": -2,
            "text": wrapped(tick.words, width, 2),
            "font": {"size": 11, "color": SOFT},
        }
        for tick in row.ticks
    ]
    return [name, *ticks]


def _row(setting: Setting, units: Sequence[Searched]) -> Row:
    absent = any(setting.name not in search.choices for search in units)
    begin = _START if absent else 0.0
    none = [Tick(0.0, "none")] if absent else []
    if setting.trend:
        values = [float(value) for search in units if is_number(value := search.choices.get(setting.name))]
        if values:
            whole = all(isinstance(value, int) for value in setting.values)
            read = lambda search: search.choices.get(setting.name)  # noqa: E731
            row = _numeric(setting.label, values, read, log=setting.log, begin=begin, whole=whole)
            return Row(row.name, row.place, [*none, *row.ticks])
    names = [number(value) for value in setting.values]
    step = (1 - begin) / max(1, len(names) - (0 if absent else 1))
    places = {
        repr(value): begin + step * (index + (0.5 if absent else 0)) for index, value in enumerate(setting.values)
    }
    ticks = [Tick(places[repr(value)], name) for value, name in zip(setting.values, names, strict=True)]
    shown = [*none, *ticks]
    if len(shown) > 8:  # no room for every name
        shown = [*none, ticks[0], ticks[-1]]
    return Row(setting.label, lambda search: places.get(repr(search.choices.get(setting.name)), 0.0), shown)


def _numeric(
    name: str,
    values: Sequence[float],
    read: Callable[[Searched], object],
    *,
    log: bool = False,
    begin: float = 0.0,
    scale: float = 1.0,
    whole: bool = False,
) -> Row:
    """Returns an axis from the least to the largest value."""
    import numpy as np  # noqa: PLC0415

    ends = np.array([min(values), max(values)], dtype=float)
    if ends[0] == ends[1]:
        ends = ends * np.array([0.5, 2.0]) if log else ends + np.array([-0.5, 0.5])
    low, high = (float(end) for end in (np.log10(ends) if log else ends))

    def along(value: float) -> float:
        at = float(np.log10(value)) if log else value
        return begin + (1 - begin) * (at - low) / (high - low)

    def place(search: Searched) -> float:
        value = read(search)
        return along(float(value)) if is_number(value) else 0.0

    inner = np.linspace(low, high, _TICKS)
    at = [10**value if log else value for value in inner.tolist()]
    if whole and not log:
        at = sorted({float(min(max(round(value), np.ceil(low)), np.floor(high))) for value in at})
    shown = {number(scale * value, 2 if abs(scale * value) < 1 else 3): along(value) for value in at}
    return Row(f"{name} (logarithmic)" if log else name, place, [Tick(spot, words) for words, spot in shown.items()])
