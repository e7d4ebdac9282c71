"""What the HTML report's scripts need: their text, their data, and the policy that allows these and no others.

The policy names scripts and styles by hash: Plotly's script, ours (`templates/report.js`), our styles
(`templates/report.css`), the empty style element that Plotly fills through the browser's object model, and one that
Plotly's bundle adds while it loads (MapLibre's). Style attributes are allowed: Plotly and the drawings of cells set
them. No `unsafe-eval` is needed, since no figure uses WebGL.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

from markupsafe import Markup

from raydarts.errors import GenotypeError
from raydarts.json_types import number as plain_number
from raydarts.report.arch import arch_weights
from raydarts.report.figures import Picture, is_share, supernet_name
from raydarts.report.figures_all import Sections
from raydarts.report.figures_alpha import recorded
from raydarts.report.figures_epochs import course
from raydarts.report.gather import Run, Searched
from raydarts.report.plotting import text, thinned, tidy
from raydarts.report.skips import skips_of

MOST_BYTES = 6_900_000
"""Size of a page. Texts, tables and figures are always whole. Single trials' curves and arch weights share what they
leave; curves take half of it at most. Trials that do not fit are left out, the worst ones first.
"""
_DATA = "(the data of the page)"
_EPOCHS = 24  # of a single trial's curve
_LONGEST_ERROR = 2000


class Page:
    """Everything that is put into a page beside its texts."""

    def __init__(self, run: Run, sections: Sections) -> None:
        self._run = run
        self._plots = [picture for _, _, figures in sections for figure in figures for picture in figure.plots]
        self.script = Markup(_asset("report.js"))  # noqa: S704 - ours
        self.plotly = Markup(_plotly())  # noqa: S704 - a part of Plotly
        self.data = Markup(_DATA)  # noqa: S704 - `filled` replaces it

    def filled(self, text: str) -> str:
        """Returns a rendered page with its data. They are the last thing but scripts: no text of a run comes after."""
        before, _, after = text.rpartition(_DATA)
        left = MOST_BYTES - len(text.encode("utf-8", "replace"))
        return f"{before}{in_script(_data(self._run, self._plots, left))}{after}"

    def plot_id(self, picture: Picture) -> str:
        """Returns the id of the element that Plotly draws a picture into."""
        return f"plot-{next(index for index, each in enumerate(self._plots) if each is picture)}"

    @property
    def policy(self) -> str:
        scripts = " ".join(map(_hashed, (self.plotly, self.script)))
        styles = " ".join(map(_hashed, (stylesheet(), "", *_styles_of_plotly())))
        return (
            f"default-src 'none'; script-src {scripts}; style-src-elem {styles}; style-src-attr 'unsafe-inline'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        )


def stylesheet() -> Markup:
    """Returns the styles of a report and of a certificate."""
    return Markup(_asset("report.css"))  # noqa: S704 - ours


def in_script(data: object) -> str:
    """Returns JSON for a script element. No text in it can end the element or begin another one."""
    content = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII: U+2028 too is an escape
    for character in "<>&":
        content = content.replace(character, f"\\u{ord(character):04x}")
    return content


def _hashed(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@lru_cache
def _asset(name: str) -> str:
    return files("raydarts.report").joinpath("templates", name).read_text(encoding="utf-8")


@lru_cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - only who draws needs Plotly

    return str(get_plotlyjs())


@lru_cache
def _styles_of_plotly() -> tuple[str, ...]:
    """Returns the texts of style elements that Plotly's script adds while it loads."""
    return tuple(
        style.encode().decode("unicode_escape") if "\\" in style else style
        for style in re.findall(r"createElement\(\"style\"\);[^;]{0,200}?\.textContent='((?:[^'\\]|\\.)*)'", _plotly())
    )


def _data(run: Run, plots: Sequence[Picture], left: int) -> dict[str, object]:
    drawn = {f"plot-{index}": json.loads(picture.plot.to_json()) for index, picture in enumerate(plots)}
    left -= _size(drawn)
    trials = Trials(run, left // 2)
    left -= _size(trials.data)
    arch = dict(_fitting(recorded(run), left))
    return {"plots": drawn, **trials.data, "arch": arch, "first": next(iter(arch), ""), "place": run.path}


def _size(data: object) -> int:
    return len(in_script(data))


def _best_first(run: Run) -> list[Searched]:
    """Returns every search: those with recorded arch weights, best first, then the others."""
    first = recorded(run)
    known = {search.id for search in first}
    return [*first, *(search for search in run.searches if search.id not in known)]


class Trials:
    """Each trial's curves, cells and error. `labels` and `outlines` are shared by all trials."""

    def __init__(self, run: Run, left: int) -> None:
        self._run = run
        self._labels: dict[str, int] = {}
        self._outlines: dict[tuple[str, ...], int] = {}
        trials: dict[str, object] = {}
        for search in _best_first(run):
            curves = self._curves(search)
            cells, error = self._cells(search), (search.error or "")[:_LONGEST_ERROR]
            left -= _size([search.id, cells, error]) + 30
            fits = _size(curves) <= left
            left -= _size(curves) if fits else 0
            trials[search.id] = {"curves": curves if fits else None, "cells": cells, "error": error}
        self.data: dict[str, object] = {
            "trials": trials,
            "labels": list(self._labels),
            "outlines": [{"title": title, "nodes": list(nodes)} for title, *nodes in self._outlines],
        }

    def _curves(self, search: Searched) -> list[object]:
        """Returns each curve: its label's number, epochs, values."""
        run = self._run
        share = is_share(run)
        first: Mapping[str, object] = search.rows[0] if search.rows else {}
        curves: list[tuple[str, list[tuple[int, float]]]] = []
        for label, factor, column in (
            (supernet_name(run) + (", %" if share else ""), 100.0 if share else 1.0, run.metric),
            ("dominant eigenvalue", 1.0, "eigenvalue"),
            ("share of skip connections, %", 100.0, "skip_share"),
        ):
            line = course(search.rows, lambda row, column=column: plain_number(row.get(column)))  # type: ignore[misc]
            curves.append((label, [(at, factor * value) for at, value in line]))
        for cell in skips_of(first):
            counts = [(row.get("epoch"), skips_of(row).get(cell)) for row in search.rows]
            known = [(at, float(count)) for at, count in counts if isinstance(at, int) and count is not None]
            curves.append((f"skip connections, {cell} cell", known))
        drawn: list[object] = []
        for label, line in curves:
            if short := thinned(line, _EPOCHS):
                number = self._labels.setdefault(text(label, 60), len(self._labels))
                drawn.append([number, [at for at, _ in short], [tidy(value) for _, value in short]])
        return drawn

    def _cells(self, search: Searched) -> list[object]:
        """Returns each cell of the genotype: its outline's number, and its edges with their primitives."""
        from raydarts.report.drawing import MOST_EDGES, outline  # noqa: PLC0415 - matplotlib

        try:
            cells = outline(search.genotype) if search.genotype else []
        except GenotypeError:
            return []
        drawn: list[object] = []
        for cell in cells:
            nodes = [re.sub(r"[${}]", "", name).replace("_", " ").replace("\n", ", ") for name in cell.names]
            joined = ", ".join(nodes[edge.src] for edge in cell.edges if edge.label is None)
            title = f"{cell.title}; its output joins {joined}" if joined else cell.title
            number = self._outlines.setdefault((title, *nodes[:-1]), len(self._outlines))
            edges = [[edge.src, edge.dst, edge.label] for edge in cell.edges if edge.label is not None]
            if len(edges) <= MOST_EDGES:
                drawn.append([number, edges])
        return drawn


def _fitting(searches: Sequence[Searched], left: int) -> Iterator[tuple[str, object]]:
    """Returns the arch weights of as many trials as fit, best first."""
    for search in searches:
        packed = [arch.packed() for arch in arch_weights(search)]
        left -= _size(packed)
        if left < 0:
            return
        if packed:
            yield search.id, packed
