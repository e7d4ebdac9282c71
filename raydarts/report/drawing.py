"""Draws a genotype as a figure for a paper: one picture for each cell, left to right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path as Curve

from raydarts.errors import InputError
from raydarts.genotypes.genotype import CellGenotype, Genotype
from raydarts.report.drawing_layout import FONT, Array, Cell, Drawn, Edge, arrange, label_half, point_on

_METADATA: dict[str, dict[str, object]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_SHORT = {"max_pool_3x3": "max pool", "avg_pool_3x3": "avg pool", "skip_connect": "skip"}
# Okabe-Ito colours; the first kind that the short name starts with wins.
_COLOURS = {
    "sep": "#0072B2",
    "dil": "#D55E00",
    "max pool": "#009E73",
    "avg pool": "#E69F00",
    "skip": "#CC79A7",
    "tanh": "#0072B2",
    "relu": "#D55E00",
    "sigmoid": "#009E73",
    "identity": "#CC79A7",
    "none": "#B0B0B0",
}
_TITLES = {"normal": "normal cell", "reduce": "reduction cell", "recurrent": "recurrent cell", "cell": "cell"}
_INPUTS = {"normal": ("$c_{k-2}$", "$c_{k-1}$"), "recurrent": ("$x_t$\n$h_{t-1}$",), "cell": ("$c_{k-1}$",)}
_DASHES = {"skip": (0, (4, 2)), "identity": (0, (4, 2)), "none": (0, (1, 2))}
MOST_EDGES = 600
"""Most edges of a drawn genotype, with those to the output. Nobody can read a picture of more."""
_MOST_PIXELS = 12e6
"""Most pixels of a .png. Packing more takes seconds."""
_OTHER, _GREY, _INK = "#56B4E9", "#B0B0B0", "#222222"
_FILLS = ("#E8EEF4", "#FFFFFF", "#EDEDED")  # input, intermediate, output


def short_name(primitive: str) -> str:
    """Returns the name of a primitive on an edge. For `module:Class` it is the class."""
    primitive = primitive.rpartition(":")[2]
    return _SHORT.get(primitive, primitive.replace("_conv_", "_").replace("_", " "))


def _cell(kind: str, cell: CellGenotype) -> Cell:
    names = list(_INPUTS["normal" if kind == "reduce" else kind])
    inputs, output = len(names), len(names) + len(cell.nodes)
    edges = [
        Edge(src, node, short_name(primitive))
        for node, choices in enumerate(cell.nodes, inputs)
        for primitive, src in choices
    ]
    edges += [Edge(node, output, None) for node in sorted(cell.concat)]
    names += [str(number) for number in range(len(cell.nodes))] + ["$h_t$" if kind == "recurrent" else "$c_k$"]
    return Cell(_TITLES[kind], names, inputs, edges)


def inputs_of(kind: str) -> int:
    """Returns how many input nodes a cell type has in drawings."""
    return len(_INPUTS["normal" if kind == "reduce" else kind])


def outline(genotype: Mapping[str, object]) -> list[Cell]:
    """Returns the nodes and edges of each cell, without positions. Raises `GenotypeError` if it is no genotype."""
    return _read(genotype)


def _read(genotype: Mapping[str, object]) -> list[Cell]:
    return [_cell(kind, cell) for kind, cell in Genotype.from_json(genotype).cells]


def unreadable(genotype: Mapping[str, object]) -> str:
    """Returns why a genotype is not drawn. An empty text means that it is drawn."""
    edges = sum(len(cell.edges) for cell in _read(genotype))
    return f"the cells have {edges:,} edges, and at most {MOST_EDGES:,} are drawn" if edges > MOST_EDGES else ""


def _bounds(cell: Cell, xy: Array, drawn: list[Drawn]) -> tuple[Array, Array]:
    points = [point_on(d.control, np.linspace(0, 1, 41)) for d in drawn]
    half = np.array([label_half(d.edge.label) for d in drawn])
    at = np.array([d.label_at for d in drawn])
    rim = np.array([[cell.radius(n)] * 2 for n in range(len(xy))])
    everything = np.vstack([*points, at - half, at + half, xy - rim, xy + rim])
    return everything.min(axis=0) - 0.06, everything.max(axis=0) + 0.06


def _colour(label: str) -> str:
    return next((c for kind, c in _COLOURS.items() if label.startswith(kind)), _OTHER)


def _draw_edge(axes: Axes, drawn: Drawn) -> None:
    label = drawn.edge.label
    colour = _GREY if label is None else _colour(label)
    curve = Curve(drawn.control, [Curve.MOVETO] + [Curve.CURVE4] * 3)
    arrow = FancyArrowPatch(
        path=curve,
        arrowstyle="-|>",
        mutation_scale=7 if label is None else 10,
        color=colour,
        linewidth=0.8 if label is None else 1.5,
        linestyle=_DASHES.get(label or "", "solid"),
        zorder=1 if label is None else 2,
    )
    axes.add_patch(arrow)
    if label is not None:
        box = {"boxstyle": "round,pad=0.22", "fc": "white", "ec": colour, "lw": 0.7}
        axes.text(
            drawn.label_at[0],
            drawn.label_at[1],
            label,
            bbox=box,
            zorder=4,
            parse_math=False,
            ha="center",
            va="center",
            fontproperties=FONT,
            color=_INK,
        )


def _draw_node(axes: Axes, cell: Cell, node: int, at: Array) -> None:
    radius, last = cell.radius(node), len(cell.names) - 1
    fill = _FILLS[0 if node < cell.inputs else 2 if node == last else 1]
    style: dict[str, Any] = {"fc": fill, "ec": _INK, "lw": 1.1, "zorder": 3}
    shape: Patch = Circle((float(at[0]), float(at[1])), radius, **style)
    if node < cell.inputs or node == last:
        corner, side = at - radius + 0.08, 2 * radius - 0.16
        round_box = "round,pad=0.08,rounding_size=0.1"
        shape = FancyBboxPatch((corner[0], corner[1]), side, side, boxstyle=round_box, **style)
    axes.add_patch(shape)
    size = 13 if cell.names[node].startswith("$c") or node == last else 10
    axes.text(
        at[0],
        at[1],
        cell.names[node],
        size=size,
        zorder=5,
        math_fontfamily="cm",
        ha="center",
        va="center",
        color=_INK,
        family="DejaVu Sans",
    )


def build_figure(genotype: Mapping[str, object], title: str | None = None) -> Figure:
    """Returns the figure that `draw_genotype` writes. Each of its axes holds one cell, in inches."""
    cells = [(cell, *arrange(cell)) for cell in _read(genotype)]
    boxes = [_bounds(*each) for each in cells]
    sizes = [high - low for low, high in boxes]
    head, gap = 0.42 if title else 0.1, 0.36
    width = max(float(s[0]) for s in sizes) + 0.2
    height = head + sum(float(s[1]) + gap for s in sizes) + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    style: dict[str, Any] = {"ha": "center", "color": _INK, "family": "DejaVu Sans"}
    if title:
        at = 1 - 0.12 / height
        figure.text(0.5, at, title, va="top", size=12, weight="bold", parse_math=False, **style)
    top = height - head
    for (cell, xy, drawn), (low, high), size in zip(cells, boxes, sizes, strict=True):
        figure.text(0.5, (top - 0.08) / height, cell.title, va="top", size=11, **style)
        top -= gap + float(size[1])
        left = (width - float(size[0])) / 2
        place = (left / width, top / height, float(size[0]) / width, float(size[1]) / height)
        axes = figure.add_axes(place, label=cell.title)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.axis("off")
        for each in drawn:
            _draw_edge(axes, each)
        for node, at_node in enumerate(xy):
            _draw_node(axes, cell, node, at_node)
    return figure


def draw_genotype(genotype: Mapping[str, object], path: Path, title: str | None = None) -> None:
    """Draws the genotype's cells to a .png, .svg or .pdf file. Edges of `none` are dotted.

    Raises `GenotypeError` if it is no genotype, `InputError` if it has too many edges or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise InputError(f"{path}: a drawing's name must end in .png, .svg or .pdf")
    if reason := unreadable(genotype):
        raise InputError(f"{path}: {reason}; without --out show prints the figures alone")
    figure = build_figure(genotype, title)
    dpi = min(300.0, (_MOST_PIXELS / float(np.prod(figure.get_size_inches()))) ** 0.5)
    try:
        figure.savefig(path, dpi=dpi, format=suffix[1:], metadata=_METADATA[suffix])
    except OSError as error:
        raise InputError(f"{path}: cannot write the drawing: {error.strerror}") from error
