"""Charts as Plotly figures: the one place that imports Plotly, and what all charts of raydarts share.

The other modules describe traces and axes as dictionaries in Plotly's words (https://plotly.com/python/reference/), and
`chart` makes a `plotly.graph_objects.Figure` of them. A point's `customdata` names the trials behind it: one id, or a
list of ids. The HTML report filters by it, and a click opens the trial.

Colours are Okabe and Ito's. Each series also has its own dash and marker, for prints in grey.
"""

from __future__ import annotations

import html
import itertools
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from raydarts.report.stats import Mean
from raydarts.report.wording import number
from raydarts.terminal import clean

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

Trace = dict[str, object]
Item = TypeVar("Item")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C7A00")
DASHES = ("solid", "7px,3px", "2px,3px", "9px,3px,2px,3px", "1px,4px", "5px,2px", "12px,4px", "3px,6px")
MARKERS = ("circle", "square", "triangle-up", "diamond", "x", "circle-open", "square-open", "triangle-down")
INK, SOFT, FAINT = "#222222", "#5c5c5c", "#e4e4e4"
HEIGHT = 340
_LONGEST = 200  # characters of a text from a run, on hover
_MOST_POINTS = 25  # of one faint line
_FONT = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'
_AXIS = {
    "gridcolor": FAINT,
    "linecolor": SOFT,
    "zeroline": False,
    "ticks": "outside",
    "tickcolor": FAINT,
    "tickfont": {"size": 12, "color": SOFT},
    "title": {"font": {"size": 13}, "standoff": 8},
}


def text(value: object, longest: int = _LONGEST) -> str:
    """Returns a value as Plotly shows it in words: its tags (`<b>`, `<a>`) and entities have no meaning in it."""
    words = clean(str(value))
    return _inert(words if len(words) <= longest else words[: longest - 1] + "…")


def wrapped(value: object, width: int, lines: int = 3) -> str:
    """Returns the same in lines of at most `width` characters. What does not fit into `lines` is left out."""
    words = clean(str(value))
    parts = textwrap.wrap(words, width, break_on_hyphens=False) or [words]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1] + "…"]
    return "<br>".join(map(_inert, parts))


def _inert(words: str) -> str:
    """Returns words without tags, and without templates (`%{x}`), in which Plotly would put a value."""
    return html.escape(words, quote=False).replace("%{", "%&#123;")


def lines(*parts: object) -> str:
    """Returns a hover text of several lines."""
    return "<br>".join(text(part) for part in parts if part != "")


def chart(
    traces: Iterable[Trace],
    *,
    x: Mapping[str, object] | None = None,
    y: Mapping[str, object] | None = None,
    height: int = HEIGHT,
    legend: bool = False,
    **layout: object,
) -> Plot:
    """Returns a figure of these traces."""
    import plotly.graph_objects as go  # noqa: PLC0415 - half a second, and only who draws needs it

    whole: dict[str, object] = {
        "template": {"layout": {}},  # else Plotly's own, seven kilobytes in each figure
        "height": height,
        "autosize": True,
        "margin": {"l": 56, "r": 16, "t": 24, "b": 48},
        "font": {"family": _FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "colorway": list(COLOURS),
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "bordercolor": SOFT, "font": {"color": INK}},
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        # A margin grows in one direction alone: else a tick at the end of an axis and its axis move each other.
        "xaxis": {**_AXIS, "automargin": "height", **(x or {})},
        "yaxis": {**_AXIS, "automargin": "width", **(y or {})},
        **layout,
    }
    return go.Figure(data=[dict(trace) for trace in traces], layout=whole)


def axis(title: str, *, log: bool = False, whole: Sequence[float] | None = None, **more: object) -> dict[str, object]:
    """Returns an axis of numbers. `whole`: its values, if only whole numbers are to be ticks. A title of a run's own
    words must not be escaped before.
    """
    shown = f"{title} (logarithmic)" if log else title
    settings: dict[str, object] = {"title": {**_AXIS["title"], "text": wrapped(shown, 44)}}  # type: ignore[dict-item]
    if log:
        settings |= {"type": "log", "exponentformat": "power"}
    else:
        settings |= {"type": "linear", "exponentformat": "power"}
    if whole:
        step = max(1, math.ceil((max(whole) - min(whole)) / 7))
        settings |= {"tickformat": "d", "tick0": 0, "dtick": next(n for n in _steps() if n >= step)}
    return {**settings, **more}


def _steps() -> Iterator[int]:
    """Yields 1, 2, 5, 10, 20, 50 and so on."""
    for power in itertools.count():
        yield from (factor * 10**power for factor in (1, 2, 5))


def colour_bar(title: str = "") -> dict[str, object]:
    """Returns the scale beside a heat map."""
    heading = {"text": text(title), "side": "right", "font": {"size": 12}}
    return {"thickness": 12, "title": heading, "tickfont": {"size": 11}}


def categories(title: str, names: Sequence[str], width: int = 18) -> dict[str, object]:
    """Returns an axis whose ticks are names, at 0, 1, 2 and so on."""
    return {
        "title": {**_AXIS["title"], "text": wrapped(title, 44)},  # type: ignore[dict-item]
        "type": "linear",
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": [wrapped(name, width) for name in names],
        "range": [-0.5, max(0.5, len(names) - 0.5)],
        "showgrid": False,
    }


def room(values: Sequence[float], least: float | None = None) -> list[float]:
    """Returns the ends of an axis with a little room. `least`: the axis begins here, or below."""
    low, high = min(values), max(values)
    low = low if least is None else min(low, least)
    space = 0.06 * (high - low) if high > low else max(abs(low) * 0.05, 0.5 if low == int(low) else 0.01)
    return [low - space, high + space]


def tidy(value: float) -> float | None:
    """Returns a number with five digits: no picture shows more. What is not finite is left out."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def points(
    x: Sequence[float],
    y: Sequence[float],
    hover: Sequence[str],
    trials: Sequence[object],
    *,
    colour: str = COLOURS[0],
    name: str = "",
    symbol: str = "circle",
    size: float = 8,
    opacity: float = 0.6,
    **more: object,
) -> Trace:
    """Returns a mark for each value. `trials` has what is behind each."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": text(name),
        "x": [tidy(value) for value in x],
        "y": [tidy(value) for value in y],
        "hovertext": list(hover),
        "hoverinfo": "text",
        "customdata": [_alone(each) for each in trials],
        "marker": {"color": colour, "symbol": symbol, "size": size, "opacity": opacity},
        **more,
    }


def _alone(trials: object) -> object:
    return trials[0] if isinstance(trials, list) and len(trials) == 1 else trials


def faint_lines(curves: Iterable[tuple[str, Sequence[tuple[float, float]]]], colour: str, name: str) -> Trace:
    """Returns single trials as one trace: (trial, its points), with a gap between trials."""
    x: list[float | None] = []
    y: list[float | None] = []
    trials: list[str | None] = []
    for trial, line in curves:
        for at, value in thinned(line, _MOST_POINTS):
            x.append(at)
            y.append(tidy(value))
            trials.append(trial)
        x.append(None)
        y.append(None)
        trials.append(None)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": text(name),
        "x": x,
        "y": y,
        "customdata": trials,
        "line": {"color": colour, "width": 0.8},
        "opacity": 0.22,
        "showlegend": False,
        "hovertemplate": "trial %{customdata}: %{y} at %{x}<extra></extra>",
    }


def band(line: Sequence[tuple[float, float, float]], colour: str) -> Trace:
    """Returns a filled area between two lines: x, lower y, upper y."""
    there = [(at, low) for at, low, _ in line] + [(at, high) for at, _, high in reversed(line)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [at for at, _ in there],
        "y": [tidy(value) for _, value in there],
        "fill": "toself",
        "fillcolor": f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},0.16)",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def series(line: Sequence[tuple[float, float]], name: str, index: int, hover: Sequence[str]) -> Trace:
    """Returns a line with a colour and a dash of its own. A line of one point is a mark."""
    return {
        "type": "scatter",
        "mode": "lines" if len(line) > 1 else "markers",
        "name": wrapped(name, 40, 2),
        "x": [at for at, _ in line],
        "y": [tidy(value) for _, value in line],
        "line": {"color": COLOURS[index % 8], "dash": DASHES[(index + index // 8) % 8], "width": 2.6},
        "marker": {"color": COLOURS[index % 8], "size": 9},
        "hovertext": list(hover),
        "hoverinfo": "text",
    }


def whiskers(
    x: Sequence[float],
    means: Sequence[Mean],
    hover: Sequence[str],
    *,
    name: str = "",
    colour: str = COLOURS[0],
    symbol: str = "square",
    scale: float = 1.0,
    line: Mapping[str, object] | None = None,
) -> Trace:
    """Returns means with their intervals. A mean of one value has no whisker. An interval ends where the possible ends.

    Plotly draws no cap where an axis cuts a whisker.
    """
    up = [None if mean.high is None else tidy(scale * (mean.high - mean.value)) for mean in means]
    down = [None if mean.low is None else tidy(scale * (mean.value - mean.low)) for mean in means]
    trace: Trace = {
        "type": "scatter",
        "mode": "markers" if line is None else "lines+markers",
        "name": wrapped(name, 40, 2),
        "x": list(x),
        "y": [tidy(scale * mean.value) for mean in means],
        "hovertext": list(hover),
        "hoverinfo": "text",
        "marker": {"color": colour, "symbol": symbol, "size": 9},
    }
    if any(value is not None for value in up):
        bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
        trace["error_y"] = {**bars, "color": colour, "thickness": 1.6, "width": 5}
    if line is not None:
        trace["line"] = {"color": colour, "width": 1.8, **line}
    return trace


def interval(mean: Mean, show: object = None) -> str:
    """Returns a mean with n and interval, for a hover text."""
    as_text = show if callable(show) else (lambda value: number(value, 4))
    if mean.low is None or mean.high is None:
        return f"{as_text(mean.value)}, n = {mean.n}"
    return f"{as_text(mean.value)}, n = {mean.n}, 95 % interval {as_text(mean.low)} to {as_text(mean.high)}"


def thinned(every: Sequence[Item], most: int = 12) -> list[Item]:
    """Returns at most about `most` of the items, evenly. The last one is among them."""
    step = max(1, math.ceil(len(every) / most))
    kept = list(every[step - 1 :: step])
    return kept if not every or len(every) % step == 0 else [*kept, every[-1]]
