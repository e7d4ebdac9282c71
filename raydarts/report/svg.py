"""Charts as inline SVG: text stays text, marks carry a hover title, no script is needed.

Drawn 440 units wide, so that on a phone nothing shrinks below reading size. Colours are Okabe and Ito's, and each
series differs in dash and marker too, for prints in grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from markupsafe import Markup, escape

from raydarts.report.wording import number

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C7A00")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 4", "5 2", "12 4", "3 6")
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "circle", "square", "triangle")
INK, SOFT, FAINT = "#222222", "#5c5c5c", "#dddddd"
WIDTH, HEIGHT = 440, 300


class Axis(Protocol):
    """Where a value lies along an axis, in SVG units, and which values are labelled."""

    def __call__(self, value: object) -> float: ...

    def ticks(self) -> list[tuple[float, str]]: ...


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from `low` at `start` to `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    percent: bool = False

    def __call__(self, value: object) -> float:
        if not isinstance(value, int | float):
            raise TypeError(f"{value!r} has no place on an axis of numbers")
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(value) if self.log else float(value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        values = _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)
        shown = [100 * value for value in values] if self.percent else values
        return [(self(value), number(text, 4)) for value, text in zip(values, shown, strict=True)]


@dataclass(frozen=True)
class Bands:
    """An axis of categories."""

    names: Sequence[str]
    start: float
    end: float

    def __call__(self, value: object) -> float:
        width = (self.end - self.start) / len(self.names)
        return self.start + (list(self.names).index(str(value)) + 0.5) * width

    def ticks(self) -> list[tuple[float, str]]:
        return [(self(name), name) for name in self.names]


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [factor * 10.0**power for power in range(bottom, top + 1) for factor in factors]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) >= 3:
            return found
    return found or [low, high]


def span(values: Sequence[float], log: bool = False) -> tuple[float, float]:
    """The values' ends with a little room."""
    low, high = min(values), max(values)
    if log:
        room = (high / low) ** 0.05 if high > low else 1.5
        return low / room, high * room
    room = 0.06 * (high - low) if high > low else max(abs(low) * 0.05, 0.5 if low == int(low) else 0.01)
    return low - room, high + room


@dataclass
class Chart:
    """One picture: marks are added, then `svg()` gives the whole. `alt` says in words what it shows."""

    alt: str
    x: Axis
    y: Axis
    x_label: str = ""
    y_label: str = ""
    title: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = 58
    right: int = 12
    top: int = 30
    bottom: int = 46
    marks: list[str] = field(default_factory=list)
    keys: list[tuple[str, str, str, str, bool]] = field(default_factory=list)
    turn: bool = False  # x labels slanted
    base: bool = True  # the line under the chart

    def _add(self, body: str, title: str = "") -> None:
        told = f"<title>{escape(title)}</title>" if title else ""
        self.marks.append(body.replace("/>", f">{told}</{body[1:].split(' ', 1)[0]}>", 1) if told else body)

    def line(
        self, points: Sequence[tuple[float, float]], colour: str, dash: str = "", width: float = 2, opacity: float = 1,
        title: str = "",
    ) -> None:  # fmt: skip
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        style = f'stroke-dasharray="{dash}" ' if dash else ""
        style += f'stroke-opacity="{opacity}" ' if opacity < 1 else ""
        self._add(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" {style}/>', title)

    def band(self, points: Sequence[tuple[float, float, float]], colour: str) -> None:
        """A filled area between two lines: x, lower y, upper y."""
        path = [(a, low) for a, low, _ in points] + [(a, high) for a, _, high in reversed(points)]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in path)
        self._add(f'<polygon points="{joined}" fill="{colour}" fill-opacity="0.16" />')

    def mark(
        self, at: tuple[float, float], colour: str, shape: str = "circle", title: str = "", size: float = 4.5,
        hollow: bool = False, opacity: float = 0.85,
    ) -> None:  # fmt: skip
        a, b = at
        fill = f'fill="{"#ffffff" if hollow else colour}" fill-opacity="{opacity}" stroke="{colour}" stroke-width="1.3"'
        self._add(f"{_shape(shape, a, b, size)} {fill} />", title)

    def bar(self, box: tuple[float, float, float, float], colour: str, title: str = "", opacity: float = 1) -> None:
        """x, y, width, height."""
        a, b, width, height = box
        size = f'x="{a:.1f}" y="{b:.1f}" width="{max(width, 0.4):.1f}" height="{height:.1f}"'
        self._add(f'<rect {size} fill="{colour}" fill-opacity="{opacity}" />', title)

    def text(
        self, at: tuple[float, float], words: str, anchor: str = "start", size: int = 12, soft: bool = False
    ) -> None:
        colour = SOFT if soft else INK
        a, b = at
        self.marks.append(
            f'<text x="{a:.1f}" y="{b:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}" '
            f'paint-order="stroke" stroke="#ffffff" stroke-width="3">{escape(words)}</text>'
        )

    def key(self, words: str, colour: str, dash: str = "", shape: str = "", hollow: bool = False) -> None:
        """A line of the legend, which stands below the chart."""
        self.keys.append((words, colour, dash, shape, hollow))

    def _axes(self) -> list[str]:
        base, parts = self.height - self.bottom, []
        for at, words in self.y.ticks():
            parts.append(f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{at:.1f}" y2="{at:.1f}" '
                         f'stroke="{FAINT}"/>')  # fmt: skip
            parts.append(f'<text x="{self.left - 6}" y="{at + 4:.1f}" text-anchor="end" font-size="12" '
                         f'fill="{SOFT}">{escape(_cut(words, self.left // 7))}</text>')  # fmt: skip
        for at, words in self.x.ticks():
            slant = f' transform="rotate(-28 {at:.1f} {base + 16})"' if self.turn else ""
            anchor = "end" if self.turn else "middle"
            parts.append(f'<text x="{at:.1f}" y="{base + 17}" text-anchor="{anchor}" font-size="12" fill="{SOFT}"{slant}>'
                         f"{escape(_cut(words, 18))}</text>")  # fmt: skip
        if self.base:
            ends = f'x1="{self.left}" x2="{self.width - self.right}" y1="{base}" y2="{base}"'
            parts.append(f'<line {ends} stroke="{SOFT}"/>')
        middle = (self.left + self.width - self.right) / 2
        parts.append(f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle" font-size="13" fill="{INK}">'
                     f"{escape(self.x_label)}</text>")  # fmt: skip
        parts.append(f'<text x="4" y="14" font-size="13" fill="{INK}">{escape(self.y_label)}</text>')
        parts.append(f'<text x="{self.width - self.right}" y="14" text-anchor="end" font-size="13" font-weight="600" '
                     f'fill="{INK}">{escape(self.title)}</text>')  # fmt: skip
        return parts

    def _legend(self) -> tuple[list[str], int]:
        """The keys in rows below the chart, and the height they take."""
        parts, a, b = [], 8.0, self.height + 12.0
        for words, colour, dash, shape, hollow in self.keys:
            needed = 38 + 6.9 * len(words)
            if a > 8 and a + needed > self.width:
                a, b = 8.0, b + 19
            style = f'stroke-dasharray="{dash}"' if dash else ""
            if shape:
                parts.append(f'{_shape(shape, a + 11, b - 4, 4.5)} fill="{"#ffffff" if hollow else colour}" stroke="{colour}"/>')
            else:
                line = f'x1="{a}" x2="{a + 22}" y1="{b - 4}" y2="{b - 4}" stroke="{colour}"'
                parts.append(f'<line {line} stroke-width="2.5" {style}/>')
            parts.append(f'<text x="{a + 28}" y="{b}" font-size="12" fill="{INK}">{escape(words)}</text>')
            a += needed
        return parts, int(b + 8 - self.height) if self.keys else 0

    def svg(self) -> Markup:
        legend, extra = self._legend()
        body = "".join([*self._axes(), *self.marks, *legend])
        return Markup(  # noqa: S704 - every text in it was escaped above
            f'<svg viewBox="0 0 {self.width} {self.height + extra}" role="img" aria-label="{escape(self.alt)}" '
            f'style="max-width:{self.width}px">{body}</svg>'
        )


def _shape(shape: str, a: float, b: float, size: float) -> str:
    if shape == "square":
        return f'<rect x="{a - size:.1f}" y="{b - size:.1f}" width="{2 * size}" height="{2 * size}"'
    if shape == "triangle":
        points = (
            f"{a:.1f},{b - size * 1.2:.1f} {a + size * 1.15:.1f},{b + size:.1f} {a - size * 1.15:.1f},{b + size:.1f}"
        )
        return f'<polygon points="{points}"'
    if shape == "diamond":
        s = size * 1.3
        points = f"{a:.1f},{b - s:.1f} {a + s:.1f},{b:.1f} {a:.1f},{b + s:.1f} {a - s:.1f},{b:.1f}"
        return f'<polygon points="{points}"'
    if shape == "cross":
        s, t = size * 1.1, size * 0.4
        points = [
            (-t, -s),
            (t, -s),
            (t, -t),
            (s, -t),
            (s, t),
            (t, t),
            (t, s),
            (-t, s),
            (-t, t),
            (-s, t),
            (-s, -t),
            (-t, -t),
        ]
        return f'<polygon points="{" ".join(f"{a + c:.1f},{b + d:.1f}" for c, d in points)}"'
    return f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{size}"'


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"


def plot_area(
    x: Sequence[float] | Sequence[str], y: Sequence[float], *, log_x: bool = False, percent_x: bool = False,
    percent_y: bool = False, categories: bool = False,
) -> tuple[Axis, Axis]:  # fmt: skip
    """The two axes of a `Chart` of usual size."""
    across: Axis
    if categories:
        across = Bands([str(value) for value in x], 58, WIDTH - 12)
    else:
        across = Scale(*span([float(v) for v in x], log_x), 62, WIDTH - 20, log_x, percent_x)
    return across, Scale(*span(y), HEIGHT - 46, 34, percent=percent_y)
