"""What can be said of a cell from its genotype alone: how much of it is skips, has no parameters, or passes on nothing.

Facts hold no bar. Health checks apply bars to them. A search writes them into each row (probe `cell_facts`), and a
reader of recorded genotypes computes the same numbers here, without torch and without loading code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from raydarts.errors import GenotypeError
from raydarts.genotypes.genotype import CellGenotype, Genotype, inputs_of, usual_skip


class Facts(TypedDict):
    """What `raydarts show --json` prints of a genotype."""

    id: str
    space: str
    parameters: int
    flops: int
    macs: int
    skips: Mapping[str, int]
    skip_share: float
    parameter_free_share: float
    noise_edges: float
    disconnected: float
    genotype: Mapping[str, object]
    lineage: NotRequired[str]
    drawing: NotRequired[str]


NOTHING = frozenset({"none", "noise"})
"""Shipped primitives that ignore their input: zeros, and random numbers."""
_PARAMETER_FREE = frozenset({"skip_connect", "max_pool_3x3", "avg_pool_3x3"}) | NOTHING
_WITH_PARAMETERS = frozenset(
    {
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "conv_7x1_1x7",
        "nor_conv_1x1",
        "nor_conv_3x3",
    }
)
_ACTIVATIONS = frozenset({"tanh", "relu", "sigmoid", "identity"})
"""Of a recurrent cell. Each node has a weight matrix, whatever its activation."""
NOT_JUDGED = ("reduce",)
"""A reduction cell is mostly pools by design."""
FACTS = ("skip_share", "parameter_free_share", "noise_edges", "disconnected")


@dataclass(frozen=True)
class Kinds:
    """What a space says of its primitives.

    - `skip`: the primitive that is the skip connection.
    - `parameter_free`: primitives without parameters. Skip, noise and `none` usually belong to them.
    - `nothing`: primitives that do not pass on their input (noise, `none`).
    - `judged`: the cell types whose shares are judged.
    """

    skip: str
    parameter_free: frozenset[str]
    nothing: frozenset[str]
    judged: tuple[str, ...]


def judged_of(cell_types: Iterable[str]) -> tuple[str, ...]:
    """Returns the cell types that are judged, if a space does not say it: all but the reduction cell."""
    return tuple(name for name in cell_types if name not in NOT_JUDGED)


def has_parameters(primitive: str, cell_type: str = "normal") -> bool | None:
    """Returns whether a shipped primitive has parameters in a cell of this type. None: it is not a shipped one."""
    if cell_type == "recurrent":
        return primitive != "none" if primitive in _ACTIVATIONS | {"none"} or ":" in primitive else None
    return True if primitive in _WITH_PARAMETERS else False if primitive in _PARAMETER_FREE else None


def usual_kinds(genotype: Genotype) -> Kinds:
    """Returns what the names of shipped primitives say.

    Raises `GenotypeError` with the primitives of which nothing is known. Then the caller must say it (`Kinds`).
    """
    known = {
        (primitive, name): has_parameters(primitive, name)
        for name, cell in genotype.cells
        for primitive, _ in cell.edges()
    }
    if unknown := sorted({primitive for (primitive, _), answer in known.items() if answer is None}):
        raise GenotypeError(
            f"whether {', '.join(unknown)} has parameters is not known from the genotype; give its space "
            "PARAMETER_FREE, a set of the primitives without parameters, or pass `Kinds`"
        )
    skip = genotype.skip or usual_skip(genotype.cell_types[0])
    free = frozenset(primitive for (primitive, _), answer in known.items() if answer is False)
    return Kinds(skip, free, NOTHING, judged_of(genotype.cell_types))


def cell_facts(genotype: Genotype, kinds: Kinds | None = None) -> dict[str, float]:
    """Returns the facts of a genotype by name (`FACTS`).

    - `skip_share`: share of edges that are skip connections.
    - `parameter_free_share`: share of edges without parameters (skips, pools, noise, `none`).
    - `noise_edges`: number of edges that do not pass on their input (noise, `none`).
    - `disconnected`: number of cells whose output depends on none of their inputs.

    The first three are those of the judged cell types: of several, the largest share, and the sum of the edges.
    `disconnected` counts all cell types, because one such cell cuts the network. `kinds` is what the space says. None:
    what the primitives' names say (`usual_kinds`).
    """
    kinds = usual_kinds(genotype) if kinds is None else kinds
    judged = [cell.edges() for name, cell in genotype.cells if name in kinds.judged]
    counted: Mapping[str, list[float]] = {
        "skip_share": [_share(edges, {kinds.skip}) for edges in judged],
        "parameter_free_share": [_share(edges, kinds.parameter_free) for edges in judged],
    }
    noise = sum(primitive in kinds.nothing for edges in judged for primitive, _ in edges)
    cut = sum(not _connected(cell, inputs_of(name), kinds.nothing) for name, cell in genotype.cells)
    return {name: max(shares, default=0.0) for name, shares in counted.items()} | {
        "noise_edges": noise,
        "disconnected": cut,
    }


def _share(edges: list[tuple[str, int]], primitives: Iterable[str]) -> float:
    """Returns the share of edges with one of these primitives. It is 0 of a cell without edges."""
    counted = sum(primitive in set(primitives) for primitive, _ in edges)
    return counted / len(edges) if edges else 0.0


def _connected(cell: CellGenotype, inputs: int, nothing: frozenset[str]) -> bool:
    """Returns whether a node of the output depends on an input of the cell."""
    reached = set(range(inputs))
    for number, node in enumerate(cell.nodes, inputs):
        if any(src in reached and primitive not in nothing for primitive, src in node):
            reached.add(number)
    return any(node in reached for node in cell.concat)
