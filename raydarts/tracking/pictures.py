"""What W&B shows as pictures: arch weights as heat maps, genotypes as drawings."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from raydarts.report.drawing import build_figure, short_name

Picture = Image.Image
_DPI = 100


def _picture(figure: Figure) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    buffer.seek(0)
    return Image.open(buffer)


def drawing(genotype: Mapping[str, Any], title: str | None = None) -> Picture:
    """The genotype's cells."""
    return _picture(build_figure(genotype, title))


def heat_maps(arch_weights: Mapping[str, Mapping[str, Any]]) -> dict[str, Picture]:
    """Cell type -> its arch weights: an edge a row, a primitive a column, blank where an edge has no such candidate.

    Colours go from 0 to the largest weight, since early in a search all are close to 1 / candidates; the numbers
    are written in.
    """
    return {cell: _heat_map(found, cell) for cell, found in arch_weights.items() if found.get("weights")}


def _heat_map(found: Mapping[str, Any], cell: str) -> Picture:
    columns, table = _table(found["primitives"], found["weights"])
    figure = Figure(
        figsize=(1.6 + 0.55 * len(columns), 1.4 + 0.3 * len(table)), facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    largest = float(np.nanmax(table))
    image = axes.imshow(table, vmin=0, vmax=largest, cmap="viridis", aspect="auto")
    for (row, column), weight in np.ndenumerate(table):
        if not np.isnan(weight):
            shade = "black" if weight > 0.6 * largest else "white"
            axes.text(column, row, f"{weight:.3f}", ha="center", va="center", size=7, color=shade)
    axes.set_xticks(range(len(columns)), [short_name(name) for name in columns], rotation=45, ha="right")
    axes.set_yticks(range(len(table)), [f"{src} \N{RIGHTWARDS ARROW} {dst}" for src, dst in found["edges"]])
    axes.set_title(f"arch weights, {cell} cell")
    axes.set_ylabel("edge")
    figure.colorbar(image, ax=axes)
    return _picture(figure)


def _table(primitives: Sequence[Any], weights: Sequence[Sequence[float]]) -> tuple[list[str], Any]:
    """Primitives may differ from edge to edge: every name met is a column, NaN where an edge lacks it."""
    each = [primitives] * len(weights) if all(isinstance(name, str) for name in primitives) else primitives
    columns = list(dict.fromkeys(name for edge in each for name in edge))
    table = np.full((len(weights), len(columns)), np.nan)
    for index, (edge, values) in enumerate(zip(each, weights, strict=True)):
        for name, value in zip(edge, values, strict=True):
            table[index, columns.index(name)] = np.nan if value is None else value
    return columns, table
