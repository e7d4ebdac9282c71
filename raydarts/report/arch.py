"""Recorded arch weights of one trial as arrays: epoch x edge x primitive, for each cell type."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raydarts.json_types import Json, items, number, section
from raydarts.report.gather import Searched
from raydarts.report.plotting import thinned, wrapped

MOST_EPOCHS = 16
"""Epochs that a slider has. More are thinned evenly; the last one is among them."""
_ABSENT = 65535
_STEPS = 65534


@dataclass(frozen=True)
class ArchWeights:
    """`weights`: epoch x edge x primitive, NaN where an edge has no such candidate."""

    cell: str
    edges: list[str]
    primitives: list[str]
    epochs: list[int]
    weights: npt.NDArray[np.float64]

    @property
    def largest(self) -> float:
        return float(np.nanmax(self.weights))

    def packed(self) -> dict[str, Json]:
        """Returns the arrays as the report's page holds them: two bytes a weight, in base64.

        A weight is `low + step * code`, so at most 0.001 % of the range is lost. Code 65535: no such candidate.
        """
        low, high = float(np.nanmin(self.weights)), self.largest
        step = (high - low) / _STEPS or 1.0
        known = np.isfinite(self.weights)
        codes = np.where(known, np.round((np.where(known, self.weights, low) - low) / step), _ABSENT)
        return {
            "title": wrapped(f"{self.cell} cell", 40),
            "edges": [wrapped(edge, 16, 1) for edge in self.edges],
            "primitives": [wrapped(name, 16, 2) for name in self.primitives],
            "epochs": list(self.epochs),
            "low": low,
            "step": step,
            "codes": base64.b64encode(codes.astype("<u2").tobytes()).decode(),
        }


def table(record: Mapping[str, object]) -> tuple[list[str], list[str], npt.NDArray[np.float64]]:
    """Returns one epoch's edges, primitives and weights of a cell.

    Primitives may differ from edge to edge: every name met is a column, NaN where an edge lacks it.
    """
    primitives, weights = items(record.get("primitives")), items(record.get("weights"))
    shared = all(isinstance(name, str) for name in primitives)
    each = [list(map(str, primitives if shared else items(primitives[edge]))) for edge in range(len(weights))]
    columns = list(dict.fromkeys(name for edge in each for name in edge))
    values = np.full((len(weights), len(columns)), np.nan)
    for index, (names, row) in enumerate(zip(each, weights, strict=True)):
        for name, value in zip(names, items(row), strict=False):
            known = number(value)
            values[index, columns.index(name)] = np.nan if known is None else known
    ends = [items(edge) for edge in items(record.get("edges"))]
    edges = [f"{src} → {dst}" for src, dst in ends] if len(ends) == len(values) else []
    return edges or [f"edge {index}" for index in range(len(values))], columns, values


def arch_weights(search: Searched, most: int = MOST_EPOCHS) -> list[ArchWeights]:
    """Returns the arch weights of each cell type over the epochs in which they were recorded."""
    rows = [row for row in search.rows if section(row.get("arch_weights")) and isinstance(row.get("epoch"), int)]
    if not rows:
        return []
    results = []
    for cell in section(rows[-1]["arch_weights"]):
        try:
            results.append(_over_epochs(cell, thinned(rows, most)))
        except (ValueError, IndexError, TypeError):  # damaged: not the shape that a search writes
            continue
    return [each for each in results if each is not None]


def _over_epochs(cell: str, rows: Sequence[Mapping[str, object]]) -> ArchWeights | None:
    known = [(row["epoch"], section(section(row["arch_weights"]).get(cell))) for row in rows]
    frames = [(int(number(epoch) or 0), *table(record)) for epoch, record in known if record]
    if not frames or frames[-1][3].size == 0 or not np.isfinite(frames[-1][3]).any():
        return None
    _, edges, primitives, last = frames[-1]
    same = [
        (epoch, values) for epoch, *names, values in frames if names[1] == primitives and values.shape == last.shape
    ]
    return ArchWeights(cell, edges, primitives, [epoch for epoch, _ in same], np.array([values for _, values in same]))
