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
from raydarts.report.figures import Figure, Picture, is_share, supernet_name
from raydarts.report.figures_alpha import recorded
from raydarts.report.figures_epochs import course
from raydarts.report.gather import Run, Searched, skips_of
from raydarts.report.plotting import text, thinned, tidy

ARCH_CHARACTERS = 600_000
"""Most characters of arch weights in a page. Trials that do not fit are left out, the worst ones first."""
CURVE_CHARACTERS = 400_000
"""The same of single trials' curves."""
_EPOCHS = 40  # of a single trial's curve
_LONGEST_ERROR = 2000


class Page:
    """Everything that is put into a page beside its texts."""

    def __init__(self, run: Run, figures: Sequence[Figure]) -> None:
        self._plots = [picture for figure in figures for picture in figure.plots]
        self.css, self.script = (Markup(_asset(name)) for name in ("report.css", "report.js"))  # noqa: S704
        self.plotly = Markup(_plotly())  # noqa: S704 - a part of Plotly
        self.data = Markup(in_script(_data(run, self._plots)))  # noqa: S704 - `in_script` leaves no markup

    def plot_id(self, picture: Picture) -> str:
        """Returns the id of the element that Plotly draws a picture into."""
        return f"plot-{next(index for index, each in enumerate(self._plots) if each is picture)}"

    @property
    def policy(self) -> str:
        scripts = " ".join(map(_hashed, (self.plotly, self.script)))
        styles = " ".join(map(_hashed, (self.css, "", *_styles_of_plotly())))
        return (
            f"default-src 'none'; script-src {scripts}; style-src-elem {styles}; style-src-attr 'unsafe-inline'; "
            "img-src data: blob:; base-uri 'none'; form-action 'none'"
        )


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


def _data(run: Run, plots: Sequence[Picture]) -> dict[str, object]:
    arch = dict(_fitting(recorded(run)))
    return {
        "plots": {f"plot-{index}": json.loads(picture.plot.to_json()) for index, picture in enumerate(plots)},
        "trials": _trials(run),
        "arch": arch,
        "first": next(iter(arch), ""),
        "place": run.path,
    }


def _best_first(run: Run) -> list[Searched]:
    """Returns every search: those with recorded arch weights, best first, then the others."""
    first = recorded(run)
    known = {search.id for search in first}
    return [*first, *(search for search in run.searches if search.id not in known)]


def _trials(run: Run) -> dict[str, object]:
    """Returns each trial's curves, cells and error. Curves that do not fit into the page are left out."""
    trials: dict[str, object] = {}
    left = CURVE_CHARACTERS
    for search in _best_first(run):
        curves = _curves(run, search)
        size = len(json.dumps(curves))
        fits = size <= left
        left -= size if fits else 0
        error = (search.error or "")[:_LONGEST_ERROR]
        trials[search.id] = {"curves": curves if fits else None, "cells": _cells(search), "error": error}
    return trials


def _curves(run: Run, search: Searched) -> list[dict[str, object]]:
    scale = 100.0 if is_share(run) else 1.0
    first: Mapping[str, object] = search.rows[0] if search.rows else {}
    every = [(supernet_name(run) + (", %" if is_share(run) else ""), scale, run.metric)]
    every += [("dominant eigenvalue", 1.0, "eigenvalue"), ("share of skip connections, %", 100.0, "skip_share")]
    curves = []
    for label, factor, column in every:
        line = course(search.rows, lambda row, column=column: plain_number(row.get(column)))  # type: ignore[misc]
        curves.append((label, [(at, factor * value) for at, value in line]))
    for cell in skips_of(first):
        counts = [(row.get("epoch"), skips_of(row).get(cell)) for row in search.rows]
        line = [(at, float(count)) for at, count in counts if isinstance(at, int) and count is not None]
        curves.append((f"skip connections, {cell} cell", line))
    return [
        {"label": text(label, 60), "x": [at for at, _ in short], "y": [tidy(value) for _, value in short]}
        for label, line in curves
        if (short := thinned(line, _EPOCHS))
    ]


def _cells(search: Searched) -> list[dict[str, object]]:
    """Returns the cells of a trial's genotype: titles, nodes and edges with their primitives."""
    from raydarts.report.drawing import MOST_EDGES, outline  # noqa: PLC0415 - matplotlib

    try:
        cells = outline(search.genotype) if search.genotype else []
    except GenotypeError:
        return []
    return [
        {
            "title": cell.title,
            "nodes": [re.sub(r"[${}]", "", name).replace("_", " ").replace("\n", ", ") for name in cell.names],
            "edges": [[edge.src, edge.dst, edge.label] for edge in cell.edges if edge.label is not None],
        }
        for cell in cells
        if len(cell.edges) <= MOST_EDGES
    ]


def _fitting(searches: Sequence[Searched]) -> Iterator[tuple[str, object]]:
    """Returns the arch weights of as many trials as fit, best first."""
    left = ARCH_CHARACTERS
    for search in searches:
        packed = [arch.packed() for arch in arch_weights(search)]
        left -= len(json.dumps(packed))
        if left < 0:
            return
        if packed:
            yield search.id, packed
