"""Charts as inline SVG. Text stays text, marks have a hover title, and no script is needed.

Charts are 440 units wide, so that nothing is too small to read on a phone. Colours are Okabe and Ito's. Each series
also has its own dash and marker, for prints in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from raydarts.report.axes import HEIGHT, WIDTH, Axis

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C7A00")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 4", "5 2", "12 4", "3 6")
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "circle", "square", "triangle")
INK, SOFT, FAINT = "#222222", "#5c5c5c", "#dddddd"


@dataclass
class Chart:
    """One picture. Add marks, then call `svg()`. `alt` says in words what it shows."""

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
        tooltip = f"<title>{escape(title)}</title>" if title else ""
        self.marks.append(body.replace("/>", f">{tooltip}</{body[1:].split(' ', 1)[0]}>", 1) if tooltip else body)

    def line(
        self,
        points: Sequence[tuple[float, float]],
        colour: str,
        dash: str = "",
        width: float = 2,
        opacity: float = 1,
        title: str = "",
    ) -> None:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        style = f'stroke-dasharray="{dash}" ' if dash else ""
        style += f'stroke-opacity="{opacity}" ' if opacity < 1 else ""
        self._add(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" {style}/>', title)

    def band(self, points: Sequence[tuple[float, float, float]], colour: str) -> None:
        """Adds a filled area between two lines: x, lower y, upper y."""
        path = [(a, low) for a, low, _ in points] + [(a, high) for a, _, high in reversed(points)]
        joined = " ".join(f"{a:.1f},{b:.1f}" for a, b in path)
        self._add(f'<polygon points="{joined}" fill="{colour}" fill-opacity="0.16" />')

    def mark(
        self,
        at: tuple[float, float],
        colour: str,
        shape: str = "circle",
        title: str = "",
        size: float = 4.5,
        hollow: bool = False,
        opacity: float = 0.85,
    ) -> None:
        a, b = at
        fill = f'fill="{"#ffffff" if hollow else colour}" fill-opacity="{opacity}" stroke="{colour}" stroke-width="1.3"'
        self._add(f"{_shape(shape, a, b, size)} {fill} />", title)

    def bar(self, box: tuple[float, float, float, float], colour: str, title: str = "", opacity: float = 1) -> None:
        """Adds a bar: x, y, width, height."""
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
        """Adds a line of the legend, which is below the chart."""
        self.keys.append((words, colour, dash, shape, hollow))

    def _axes(self) -> list[str]:
        base, parts = self.height - self.bottom, []
        for at, words in self.y.ticks():
            parts.append(
                f'<line x1="{self.left}" x2="{self.width - self.right}" y1="{at:.1f}" y2="{at:.1f}" stroke="{FAINT}"/>'
            )
            parts.append(
                f'<text x="{self.left - 6}" y="{at + 4:.1f}" text-anchor="end" font-size="12" '
                f'fill="{SOFT}">{escape(_cut(words, self.left // 7))}</text>'
            )
        for at, words in self.x.ticks():
            slant = f' transform="rotate(-28 {at:.1f} {base + 16})"' if self.turn else ""
            anchor = "end" if self.turn else "middle"
            parts.append(
                f'<text x="{at:.1f}" y="{base + 17}" text-anchor="{anchor}" font-size="12" fill="{SOFT}"{slant}>'
                f"{escape(_cut(words, 18))}</text>"
            )
        if self.base:
            ends = f'x1="{self.left}" x2="{self.width - self.right}" y1="{base}" y2="{base}"'
            parts.append(f'<line {ends} stroke="{SOFT}"/>')
        middle = (self.left + self.width - self.right) / 2
        parts.append(
            f'<text x="{middle}" y="{self.height - 8}" text-anchor="middle" font-size="13" fill="{INK}">'
            f"{escape(self.x_label)}</text>"
        )
        parts.append(f'<text x="4" y="14" font-size="13" fill="{INK}">{escape(self.y_label)}</text>')
        parts.append(
            f'<text x="{self.width - self.right}" y="14" text-anchor="end" font-size="13" font-weight="600" '
            f'fill="{INK}">{escape(self.title)}</text>'
        )
        return parts

    def _legend(self) -> tuple[list[str], int]:
        """Returns the legend's keys in rows below the chart, and their height."""
        parts, a, b = [], 8.0, self.height + 12.0
        for words, colour, dash, shape, hollow in self.keys:
            needed = 38 + 6.9 * len(words)
            if a > 8 and a + needed > self.width:
                a, b = 8.0, b + 19
            style = f'stroke-dasharray="{dash}"' if dash else ""
            if shape:
                parts.append(
                    f'{_shape(shape, a + 11, b - 4, 4.5)} fill="{"#ffffff" if hollow else colour}" stroke="{colour}"/>'
                )
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


_CORNERS = {
    "triangle": ((0.0, -1.2), (1.15, 1.0), (-1.15, 1.0)),
    "diamond": ((0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)),
    "square": ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)),
    "cross": tuple(
        (c * 1.1, d * 1.1)
        for c, d in (
            *((-0.4, -1), (0.4, -1), (0.4, -0.4), (1, -0.4), (1, 0.4), (0.4, 0.4)),
            *((0.4, 1), (-0.4, 1), (-0.4, 0.4), (-1, 0.4), (-1, -0.4), (-0.4, -0.4)),
        )
    ),
}


def _shape(shape: str, a: float, b: float, size: float) -> str:
    if shape == "circle":
        return f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{size}"'
    points = " ".join(f"{a + size * c:.1f},{b + size * d:.1f}" for c, d in _CORNERS[shape])
    return f'<polygon points="{points}"'


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"
