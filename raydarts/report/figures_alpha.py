"""The report's figures of arch weights and chosen edges: heat map over epochs, means, stability over search seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raydarts.report.arch import ArchWeights, arch_weights, table
from raydarts.report.figures import Figure, Picture, missing
from raydarts.report.figures_epochs import NOT_RECORDED
from raydarts.report.gather import Run, Searched
from raydarts.report.plotting import Trace, axis, chart, colour_bar, lines, series, thinned, tidy, wrapped
from raydarts.report.wording import listed, number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

_NUMBERS = 120  # cells of a heat map that have room for their number


def recorded(run: Run) -> list[Searched]:
    """Returns the trials with recorded arch weights: those behind the best retrained genotypes, then by the metric."""
    first = [search for name in run.ranked for search in run.searches_by_genotype.get(name, [])]
    sign = -run.supernet.sign
    rest = sorted(run.searches, key=lambda s: (not s.completed, math.inf if s.order is None else sign * s.order, s.id))
    each = {search.id: search for search in [*first, *rest]}
    return [search for search in each.values() if any(row.get("arch_weights") for row in search.rows)]


def heat_map(arch: ArchWeights, title: str = "") -> Plot:
    """Returns an edge a row, a primitive a column, with a slider over epochs if there are several.

    Colours go from 0 to the largest weight of all epochs, since early in a search all are close to 1 / candidates.
    """
    frames = [_rows(values) for values in arch.weights]
    trace: Trace = {
        "type": "heatmap",
        "z": frames[-1],
        "zmin": min(0.0, float(np.nanmin(arch.weights))),
        "zmax": arch.largest,
        "colorscale": "Viridis",
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "hovertemplate": "%{y}, %{x}: %{z:.4f}<extra></extra>",
        "x": [wrapped(name, 16, 2) for name in arch.primitives],
        "y": [wrapped(edge, 16, 1) for edge in arch.edges],
        "colorbar": colour_bar(),
    }
    if arch.weights[0].size <= _NUMBERS:
        trace |= {"texttemplate": "%{z:.2f}", "textfont": {"size": 10}}
    heading = {"text": wrapped(title or f"{arch.cell} cell", 60), "font": {"size": 14}, "x": 0, "xanchor": "left"}
    layout: dict[str, Any] = {"title": {**heading, "y": 0.98, "yanchor": "top"}}
    sliding = len(frames) > 1
    if sliding:
        steps = [
            {"method": "restyle", "label": str(epoch), "args": [{"z": [frame]}, [0]]}
            for epoch, frame in zip(arch.epochs, frames, strict=True)
        ]
        now = {"prefix": "epoch ", "font": {"size": 12}, "xanchor": "left"}
        slider = {"steps": steps, "active": len(frames) - 1, "currentvalue": now, "pad": {"t": 8}}
        layout["sliders"] = [{**slider, "x": 0, "len": 1, "y": 0, "yanchor": "top", "font": {"size": 10}}]
    names: dict[str, object] = {"type": "category", "showgrid": False, "tickfont": {"size": 11}}
    return chart(
        [trace],
        x={**names, "side": "top", "tickangle": -40},
        y={**names, "autorange": "reversed", "title": {"text": "edge", "font": {"size": 12}}},
        height=170 + (70 if sliding else 0) + 22 * len(arch.edges),
        margin={"l": 40, "r": 10, "t": 110, "b": 80 if sliding else 20},
        **layout,
    )


def _rows(values: npt.NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else tidy(value) for value in row] for row in values.tolist()]


def heat_map_of_epoch(cell: str, record: Mapping[str, object], epoch: int) -> Plot:
    """Returns the heat map of one epoch's record, as trackers log it."""
    edges, primitives, values = table(record)
    return heat_map(ArchWeights(cell, edges, primitives, [epoch], values[None]), f"arch weights, {cell} cell")


def arch_heat(run: Run) -> Figure:
    """Shows the arch weights of each edge and primitive over the epochs. In the HTML report for any trial."""
    title = "Arch weights of each edge"
    for search in recorded(run):
        every = arch_weights(search)
        if every:
            break
    else:
        return missing("arch-heat", title, f"arch weights over epochs are {NOT_RECORDED}")
    pictures, rows = [], []
    for arch in every:
        alt = f"Heat map of the arch weights of {len(arch.edges)} edges in the {arch.cell} cell, trial {search.id}"
        plot = heat_map(arch, f"{arch.cell} cell, trial {search.id}")
        pictures.append(Picture(f"{arch.cell} cell", alt, plot, kind="arch-weights"))
        rows += _strongest(arch)
    caption = (
        "Arch weights are alpha after the relaxation. The slider goes over the recorded epochs. One search: there is "
        "no spread to show. The table has the strongest primitive of each edge after the last epoch."
    )
    return Figure("arch-heat", title, caption, pictures, ["cell type", "edge", "strongest", "arch weight"], rows)


def _strongest(arch: ArchWeights) -> list[list[str]]:
    rows = []
    for edge, values in zip(arch.edges, arch.weights[-1], strict=True):
        if np.isfinite(values).any():
            best = int(np.nanargmax(values))
            rows.append([arch.cell, edge, arch.primitives[best], f"{values[best]:.4f}"])
    return rows


def arch_means(run: Run) -> Figure:
    """Shows the mean arch weight of each primitive over the edges, for the trial behind the best genotype."""
    title = "Arch weights over epochs"
    for search in recorded(run):
        every = arch_weights(search, most=200)
        if every:
            break
    else:
        return missing("arch-weights", title, f"arch weights over epochs are {NOT_RECORDED}")
    pictures, rows = [], []
    for arch in every:
        traces = []
        for index, name in enumerate(arch.primitives):
            column = arch.weights[:, :, index]
            known = [row for row, values in enumerate(column) if np.isfinite(values).any()]
            means = [float(np.nanmean(column[row])) for row in known]
            at = [arch.epochs[row] for row in known]
            line = [(float(epoch), mean) for epoch, mean in zip(at, means, strict=True)]
            hover = [lines(name, f"epoch {epoch}", f"{mean:.4f}") for epoch, mean in zip(at, means, strict=True)]
            traces.append(series(line, name, index, hover))
            rows += [[arch.cell, name, f"{epoch:.0f}", f"{mean:.4f}"] for epoch, mean in thinned(line, 6)]
        alt = f"Mean arch weight of {len(traces)} primitives in the {arch.cell} cell over epochs, trial {search.id}"
        label = f"mean arch weight over edges, {arch.cell} cell"
        plot = chart(
            traces, x=axis("epoch", whole=[0, *arch.epochs]), y=axis(label, rangemode="tozero"), legend=True, height=400
        )
        pictures.append(Picture(f"{arch.cell} cell", alt, plot))
    caption = (
        f"Trial {search.id}: one search, so there is no spread to show. Arch weights are alpha after the relaxation."
    )
    headers = ["cell type", "primitive", "epoch", "mean over edges"]
    return Figure("arch-weights", title, caption, pictures, headers, rows)


Chosen = dict[tuple[str, int, int], str]
"""The primitive of each chosen edge of a genotype: (cell type, source, node) -> primitive."""


def chosen_edges(genotype: Mapping[str, object]) -> Chosen:
    """Returns the edges of a genotype's JSON. Nodes are numbered as papers do, inputs first."""
    from raydarts.errors import GenotypeError  # noqa: PLC0415
    from raydarts.genotypes.genotype import Genotype  # noqa: PLC0415
    from raydarts.report.drawing import inputs_of  # noqa: PLC0415 - matplotlib

    try:
        read = Genotype.from_json(genotype)
    except GenotypeError:
        return {}
    return {
        (kind, src, node): primitive
        for kind, cell in read.cells
        for node, choices in enumerate(cell.nodes, inputs_of(kind))
        for primitive, src in choices
    }


def _replicates(run: Run) -> tuple[list[Searched], str]:
    """Returns the searches that differ in the seed alone, of the best settings that have several seeds, and what they
    are in words. Without any it returns every completed search.
    """
    same: dict[object, list[Searched]] = {}
    for search in run.completed:
        settings = tuple(sorted((name, repr(value)) for name, value in search.choices.items() if name != "search.seed"))
        of = settings if search.configuration is None else search.configuration
        if search.genotype and not search.lineage:
            same.setdefault(of, []).append(search)
    several = {key: group for key, group in same.items() if len({search.seed for search in group}) > 1}
    if not several:
        known = [search for search in run.completed if search.genotype]
        return known, f"all {len(known)} completed searches (no settings were searched with several seeds)"

    def mean(group: Sequence[Searched]) -> float:
        orders = [search.order for search in group if search.order is not None]
        return run.supernet.sign * sum(orders) / len(orders) if orders else -math.inf

    best = max(several.values(), key=lambda group: (mean(group), group[0].id))
    ids = [search.id for search in best[:10]]
    chosen = {s.label: number(best[0].choices[s.name]) for s in run.settings if s.name in best[0].choices}
    shown = "; ".join(f"{name} {value}" for name, value in chosen.items()) or "equal settings"
    return best, f"{len(best)} search seeds of the best settings ({shown}; trials {listed(ids)})"


def stability(run: Run) -> Figure:
    """Shows how often each edge was chosen with each primitive, over search seeds."""
    title = "Edge stability over search seeds"
    searches, words = _replicates(run)
    found = [(search, edges) for search in searches if (edges := chosen_edges(search.genotype or {}))]
    if len(found) < 2:
        return missing("stability", title, "fewer than two completed searches have a genotype")
    pictures, rows = [], []
    for cell in dict.fromkeys(cell for _, edges in found for cell, *_ in edges):
        every = sorted({(src, node) for _, edges in found for name, src, node in edges if name == cell})
        every.sort(key=lambda edge: (edge[1], edge[0]))
        primitives = sorted({p for _, edges in found for (name, *_), p in edges.items() if name == cell})
        counts = np.zeros((len(every), len(primitives)))
        for _, edges in found:
            for (name, src, node), primitive in edges.items():
                if name == cell:
                    counts[every.index((src, node)), primitives.index(primitive)] += 1
        share = counts / len(found)
        names = [f"{src} → {node}" for src, node in every]
        trace: Trace = {
            "type": "heatmap",
            "z": [[tidy(100 * value) if value else None for value in row] for row in share.tolist()],
            "zmin": 0,
            "zmax": 100,
            "colorscale": "Viridis",
            "xgap": 1,
            "ygap": 1,
            "x": [wrapped(name, 16, 2) for name in primitives],
            "y": names,
            "hoverongaps": False,
            "hovertemplate": "%{y}, %{x}: %{z:.0f} % of the searches<extra></extra>",
            "texttemplate": "%{z:.0f}",
            "textfont": {"size": 10},
            "colorbar": colour_bar("% of the searches"),
        }
        plot = chart(
            [trace],
            x={"type": "category", "side": "top", "tickangle": -40, "showgrid": False, "tickfont": {"size": 11}},
            y={
                "type": "category",
                "autorange": "reversed",
                "showgrid": False,
                "title": {"text": "edge", "font": {"size": 12}},
            },
            height=150 + 24 * len(names),
            margin={"l": 40, "r": 10, "t": 110, "b": 20},
            title={"text": wrapped(f"{cell} cell", 60), "font": {"size": 14}, "x": 0, "y": 0.98, "yanchor": "top"},
        )
        alt = f"How often each of {len(names)} edges of the {cell} cell was chosen with each primitive"
        pictures.append(Picture(f"{cell} cell", alt, plot))
        for index, name in enumerate(names):
            often = int(share[index].argmax())
            rows.append(
                [cell, name, f"{100 * share[index].sum():.0f}", primitives[often], f"{100 * share[index, often]:.0f}"]
            )
    caption = f"Over {words}: the share of them that chose an edge with a primitive, in percent. Blank: none did."
    headers = ["cell type", "edge", "chosen by % of the searches", "most often with", "that by %"]
    return Figure("stability", title, caption, pictures, headers, rows, note=_agreement(found))


def _agreement(found: Sequence[tuple[Searched, Chosen]]) -> str:
    """Returns how much two of these searches agree on average."""
    edges, whole, pairs = 0.0, 0.0, 0
    sets = [(set(chosen), set(chosen.items())) for _, chosen in found[:200]]
    for index, (first, first_with) in enumerate(sets):
        for second, second_with in sets[index + 1 :]:
            most = max(len(first), len(second))
            edges += len(first & second) / most
            whole += len(first_with & second_with) / most
            pairs += 1
    return (
        f"Two of these searches share {100 * edges / pairs:.0f} % of their edges on average, and "
        f"{100 * whole / pairs:.0f} % with the same primitive."
    )
