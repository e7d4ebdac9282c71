"""Positions of a genotype's nodes, edges and labels: the geometry of `raydarts.report.drawing`.

Coordinates are inches. So the sizes of labels and nodes are known before drawing, and labels can be kept away from
nodes and from each other.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

Array = npt.NDArray[np.float64]
_DX, _DY = 1.95, 1.0
FONT = FontProperties(family="DejaVu Sans", size=8.5)
_BENDS = (0.0, 0.15, -0.15, 0.3, -0.3, 0.5, -0.5, 0.75, -0.75, 1.05, -1.05, 1.4, -1.4)
_PLACES = np.array([0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8])
_HARD = 1000.0
_CAREFUL = 30
"""Most edges of a cell in which every curve is compared with every other; the time grows with their third power."""
_SWEEPS = 8


@dataclass(frozen=True)
class Edge:
    src: int
    dst: int
    label: str | None  # None: into the output


@dataclass(frozen=True)
class Cell:
    title: str
    names: list[str]
    inputs: int
    edges: list[Edge]

    def radius(self, node: int) -> float:
        if self.inputs <= node < len(self.names) - 1:
            return 0.22
        return 0.31


@dataclass(frozen=True)
class Drawn:
    """One edge to draw: its cubic curve, and the middle of its label."""

    edge: Edge
    control: Array
    label_at: Array


def _layout_cost(cell: Cell, xy: Array, radii: Array) -> float:
    """Returns how bad node positions are, with straight edges: crossings, hit nodes, length."""
    src = np.array([e.src for e in cell.edges])
    dst = np.array([e.dst for e in cell.edges])
    weight = np.array([0.25 if e.label is None else 1.0 for e in cell.edges])
    a, d = xy[src], xy[dst] - xy[src]
    to = xy[None] - a[:, None]
    t = np.clip((to * d[:, None]).sum(-1) / (d * d).sum(-1)[:, None], 0, 1)
    gap = np.linalg.norm(to - t[..., None] * d[:, None], axis=-1) - radii[None]
    ends = np.arange(len(xy))[None]
    gap[(ends == src[:, None]) | (ends == dst[:, None])] = 9
    hits = (np.clip(0.2 - gap, 0, None) * weight[:, None]).sum() * 30
    side = d[:, None, 0] * (xy[None, :, 1] - a[:, None, 1])
    side = np.sign(np.round(side - d[:, None, 1] * (xy[None, :, 0] - a[:, None, 0]), 6))
    split = side[:, src] * side[:, dst] < 0
    crossings = ((split & split.T) * weight[:, None] * weight[None]).sum() * 0.8
    apart = np.abs(xy[:, None] - xy[None])
    near = ((apart[..., 0] < 0.1) & (apart[..., 1] < _DY - 1e-6)).sum() - len(xy)
    length = float((weight * np.abs(d[:, 1]) ** 1.5).sum()) * 0.5
    return float(hits + crossings + near * 50 + length + 0.1 * np.abs(xy[:, 1]).sum())


def _depths(cell: Cell) -> list[int]:
    """Returns the edges of the longest way from an input to each node. The output's is the largest."""
    depth = [0] * len(cell.names)
    for edge in cell.edges:
        depth[edge.dst] = max(depth[edge.dst], depth[edge.src] + 1)
    depth[-1] = max(depth) if depth[-1] == max(depth) else max(depth) + 1
    return depth


def _layout(cell: Cell) -> Array:
    """Puts nodes into columns by depth. A seeded search chooses heights with few crossings."""
    count, depth = len(cell.names), _depths(cell)
    xy = np.zeros((count, 2))
    widest = max(depth.count(d) for d in depth)
    xy[:, 0] = np.array(depth) * _DX * max(1.0, widest / 3 if cell.inputs == 2 else 1.0)
    if cell.inputs == 2:
        xy[:2, 1] = 0.75 * _DY, -0.75 * _DY
    levels = np.arange(-max(widest, 3), max(widest, 3) + 1) * 0.5 * _DY
    radii = np.array([cell.radius(n) for n in range(count)])
    rng, best, best_cost = random.Random(0), xy, np.inf
    for _ in range(10):
        trial = xy.copy()
        trial[cell.inputs : -1, 1] = rng.choices(levels.tolist(), k=count - cell.inputs - 1)
        cost, before = _layout_cost(cell, trial, radii), np.inf
        while cost < before:
            before = cost
            for node, level in product(range(cell.inputs, count - 1), levels):
                old, trial[node, 1] = trial[node, 1], level
                new = _layout_cost(cell, trial, radii)
                cost, trial[node, 1] = (new, level) if new < cost - 1e-9 else (cost, old)
        if cost < best_cost:
            best, best_cost = trial, cost
    return best


def point_on(control: Array, t: object) -> Array:
    t = np.asarray(t, dtype=float)[..., None]
    p, q, r, s = control
    out: Array = p * (1 - t) ** 3 + 3 * q * t * (1 - t) ** 2 + 3 * r * t * t * (1 - t) + s * t**3
    return out


def _cubic(cell: Cell, xy: Array, edge: Edge, bend: float) -> Array:
    """Returns the edge's curve. It leaves and enters nearly horizontally and is cut at the nodes' rims."""
    a, b = xy[edge.src], xy[edge.dst]
    d = b - a
    normal = np.array([-d[1], d[0]]) / np.hypot(*d) * bend
    lean = d * (0.36, 0.2)
    whole = np.array([a, a + lean + normal, b - lean + normal, b])
    t = np.linspace(0, 1, 801)
    at = point_on(whole, t)

    def outside(node: int, gap: float) -> npt.NDArray[np.bool_]:
        off = np.abs(at - xy[node])
        circle = cell.radius(node) < 0.3
        away = np.hypot(off[:, 0], off[:, 1]) if circle else off.max(axis=1)
        return np.asarray(away > cell.radius(node) + gap)

    free = t[outside(edge.src, 0.0) & outside(edge.dst, 0.03)]
    u, v = float(free[0]), float(free[-1])

    def blossom(*ts: float) -> Array:
        points = whole
        for s in ts:
            points = points[:-1] * (1 - s) + points[1:] * s
        out: Array = points[0]
        return out

    return np.array([blossom(u, u, u), blossom(u, u, v), blossom(u, v, v), blossom(v, v, v)])


def label_half(label: str | None) -> Array:
    """Returns half the width and height of a label's box."""
    if label is None:
        return np.zeros(2)
    renderer = FigureCanvasAgg(Figure(dpi=72)).get_renderer()  # type: ignore[no-untyped-call]
    width, height, _ = renderer.get_text_width_height_descent(label, FONT, False)
    return np.array([width / 144 + 0.06, max(height, 8.0) / 144 + 0.045])


class _Placer:
    """Chooses each edge's bend and its label's position along it, by descent on a shared cost."""

    def __init__(self, cell: Cell, xy: Array) -> None:
        self.edges = cell.edges
        self.half = [label_half(e.label) for e in cell.edges]
        self.radii = np.array([cell.radius(n) for n in range(len(xy))])
        self.xy = xy
        self.control = [[_cubic(cell, xy, e, b) for b in _BENDS] for e in cell.edges]
        t = np.linspace(0, 1, 41)
        self.curve = [[point_on(c, t) for c in row] for row in self.control]
        self.spots = [[point_on(c, _PLACES) for c in row] for row in self.control]
        self.alone = [[self._alone(e, b) for b in range(len(_BENDS))] for e in range(len(self.edges))]
        self.choice = [(0, 0)] * len(self.edges)
        self.near: dict[tuple[int, int, int, int], float] = {}

    def _alone(self, e: int, b: int) -> Array:
        """Returns the cost of each position on this curve from nodes only."""
        others = [n for n in range(len(self.xy)) if n not in (self.edges[e].src, self.edges[e].dst)]
        gap = np.linalg.norm(self.curve[e][b][:, None] - self.xy[None, others], axis=-1)
        gap = gap - self.radii[others]
        cost = _HARD * float((gap.min(axis=0, initial=9.0) < 0.05).sum())
        cost += 60 * float(np.clip(0.16 - gap, 0, None).max(initial=0))
        cost += 4 * abs(_BENDS[b]) + 8 * _BENDS[b] ** 2
        off = np.abs(self.spots[e][b][:, None] - self.xy[None]) - self.half[e]
        clear = np.linalg.norm(np.clip(off, 0, None), axis=-1) - self.radii
        if self.edges[e].label is None:
            return np.full(len(_PLACES), cost)
        touching = _HARD * (clear < 0.07).sum(axis=1)
        tight = 25 * np.clip(0.16 - clear, 0, None).max(axis=1)
        out: Array = cost + touching + tight + 6 * np.abs(_PLACES - 0.5)
        return out

    def _closeness(self, e: int, b: int, f: int, c: int) -> float:
        """Returns how much two curves run together or cross. It is less if they share a node."""
        key = (e, b, f, c)
        if key not in self.near:
            gap = np.linalg.norm(self.curve[e][b][:, None] - self.curve[f][c][None], axis=-1)
            cost = float(np.clip(0.12 - gap.min(axis=1), 0, None).sum())
            x, y = self.edges[e], self.edges[f]
            if (x.src, x.dst) == (y.src, y.dst):
                cost += _HARD * float(gap[20].min() < 0.25)
            self.near[key] = cost * (2.0 if x.label is None or y.label is None else 6.0)
        return self.near[key]

    def _costs(self, e: int, b: int) -> Array:
        """Returns the cost of every position on edge e at bend b, with the other edges fixed."""
        others = [f for f in range(len(self.edges)) if f != e]
        cost: Array = self.alone[e][b] + sum(self._closeness(e, b, f, self.choice[f][0]) for f in others)
        if not others:
            return cost
        spots, labelled = self.spots[e][b], self.edges[e].label is not None
        named = np.array([self.edges[f].label is not None for f in others])
        weight = np.where(named, 4.0 if labelled else 1.5, 1.5)
        boxes = np.array([self.spots[f][self.choice[f][0]][self.choice[f][1]] for f in others])
        half = np.array([self.half[f] for f in others])
        inside = (np.abs(self.curve[e][b][:, None] - boxes) < half + 0.02).all(axis=2)
        cost = cost + (inside.sum(axis=0) * weight * named).sum()
        if labelled:
            touching = (np.abs(spots[:, None] - boxes) < self.half[e] + half + 0.04).all(axis=2)
            curves = np.array([self.curve[f][self.choice[f][0]] for f in others])
            across = (np.abs(spots[:, None, None] - curves) < self.half[e] + 0.02).all(axis=3).sum(axis=2)
            cost = cost + _HARD * (touching & named).sum(axis=1) + across @ weight
        return cost

    def place(self) -> float:
        """Places every edge. Returns the worst edge's cost, which is at least `_HARD` if one is bad."""
        for _ in range(12):
            before = list(self.choice)
            for e in range(len(self.edges)):
                table = np.array([self._costs(e, b) for b in range(len(_BENDS))])
                bend, spot = np.unravel_index(int(table.argmin()), table.shape)
                self.choice[e] = (int(bend), int(spot))
            if self.choice == before:
                break
        return max(float(self._costs(e, b)[t]) for e, (b, t) in enumerate(self.choice))

    def drawn(self) -> list[Drawn]:
        return [
            Drawn(edge, self.control[e][b], self.spots[e][b][t])
            for e, (edge, (b, t)) in enumerate(zip(self.edges, self.choice, strict=True))
        ]


def arrange(cell: Cell) -> tuple[Array, list[Drawn]]:
    """Returns positions of nodes and edges. The cell grows until nothing overlaps. Large cells are arranged more
    simply.
    """
    if len(cell.edges) > _CAREFUL:
        return _arrange_large(cell)
    base = _layout(cell)
    placers = []
    for scale in (1.0, 1.15, 1.35, 1.6, 2.0):
        placer = _Placer(cell, base * scale)
        cost = placer.place()
        placers.append((cost, placer))
        if cost < _HARD:
            break
    best = min(placers, key=lambda pair: pair[0] // _HARD)[1]
    return best.xy, best.drawn()


def _arrange_large(cell: Cell) -> tuple[Array, list[Drawn]]:
    """Puts nodes into a row of columns, each column in the order of its nodes' neighbours.

    Labels are where there is most room.
    """
    depth = _depths(cell)
    neighbours: list[list[int]] = [[] for _ in cell.names]
    for edge in cell.edges:
        neighbours[edge.src].append(edge.dst)
        neighbours[edge.dst].append(edge.src)
    columns = [[node for node, at in enumerate(depth) if at == column] for column in range(max(depth) + 1)]
    height = np.zeros(len(cell.names))
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            column.sort(key=lambda node: float(np.mean(height[neighbours[node]])) if neighbours[node] else 0.0)
            for place, node in enumerate(column):
                # Columns of one node alternate, or an edge over several columns would run through all between.
                height[node] = (place - (len(column) - 1) / 2) * 2 * _DY or (depth[node] % 3 - 1) * _DY
    xy = np.column_stack([np.array(depth) * _DX, height])
    half = [label_half(edge.label) for edge in cell.edges]
    taken, reach = np.empty((0, 2)), np.empty((0, 2))
    drawn = []
    for number, edge in enumerate(cell.edges):
        same = sum((other.src, other.dst) == (edge.src, edge.dst) for other in cell.edges[:number])
        far = min(0.15 * (depth[edge.dst] - depth[edge.src] - 1), 1.2)
        control = _cubic(cell, xy, edge, (far + 0.4 * same) * (-1) ** number)
        spots = point_on(control, _PLACES)
        crowd = (np.abs(spots[:, None] - taken) < reach + half[number]).all(axis=2).sum(axis=1)
        crowd = crowd + (np.abs(spots[:, None] - xy) < 0.3 + half[number]).all(axis=2).sum(axis=1)
        spot = spots[int(crowd.argmin())]
        drawn.append(Drawn(edge, control, spot))
        if edge.label is not None:
            taken, reach = np.vstack([taken, spot]), np.vstack([reach, half[number]])
    return xy, drawn
