"""Genotypes: the discrete result of a search, JSON in and out, never `eval`.

The JSON is the one published genotypes are kept in: for each cell type a list of
`[primitive, src]` pairs, the incoming edges of the first intermediate node first, and which nodes the
cell's output concatenates. A convolutional genotype has `normal`, `normal_concat`, `reduce` and
`reduce_concat`; a recurrent one `recurrent` and `concat`; one of NAS-Bench-201 `cell` and `cell_concat`.
Nodes are numbered with the cell's inputs first. Every intermediate node has equally many incoming edges
in that flat form; where the numbers differ, the pairs are nested, a list for each node (an empty one:
a node without edges, which is zeros), or the edges are triples `[primitive, a, b]` between nodes a and
b, in either order (FairDARTS). A text is read as NAS-Bench-201's own notation, `|nor_conv_3x3~0|+|...|`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydarts.errors import GenotypeError

CONVOLUTIONAL = ("normal", "reduce")
RECURRENT = ("recurrent",)
SINGLE = ("cell",)
_INPUTS = {"normal": 2, "reduce": 2, "recurrent": 1, "cell": 1}
_PER_NODE = {"normal": 2, "reduce": 2, "recurrent": 1, "cell": 0}  # edges in the flat form; a `cell` has none
_MOST_NODES = 1000

Choice = tuple[str, int]


def _concat_key(cell_type: str) -> str:
    return "concat" if cell_type == "recurrent" else f"{cell_type}_concat"


@dataclass(frozen=True)
class CellGenotype:
    """One cell: for each intermediate node its incoming `(primitive, src)` edges, and the output's nodes."""

    nodes: tuple[tuple[Choice, ...], ...]
    concat: tuple[int, ...]

    def count(self, primitive: str) -> int:
        """On how many edges `primitive` stands."""
        return sum(name == primitive for node in self.nodes for name, _ in node)

    def edges(self) -> list[Choice]:
        return [choice for node in self.nodes for choice in node]


@dataclass(frozen=True)
class Genotype:
    """A cell for each cell type, in the order of the space."""

    cells: tuple[tuple[str, CellGenotype], ...]

    def __getitem__(self, cell_type: str) -> CellGenotype:
        return dict(self.cells)[cell_type]

    @property
    def cell_types(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.cells)

    @property
    def id(self) -> str:
        """Ten hex digits, equal for genotypes that name the same edges, in whatever order within a node."""
        canonical = {
            name: [[sorted(node, key=lambda edge: (edge[1], edge[0])) for node in cell.nodes], sorted(cell.concat)]
            for name, cell in self.cells
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:10]

    def skips(self, primitive: str = "skip_connect") -> dict[str, int]:
        """Skip connections of each cell type; the identity is the recurrent cell's skip."""
        return {name: cell.count("identity" if name == "recurrent" else primitive) for name, cell in self.cells}

    def to_json(self) -> dict[str, Any]:
        """The published form, with lists only."""
        plain: dict[str, Any] = {}
        for name, cell in self.cells:
            nested = [[list(edge) for edge in node] for node in cell.nodes]
            # Flat only where reading it back cannot err: as many edges a node as published, the last node concatenated.
            usual = {len(node) for node in cell.nodes} == {_PER_NODE[name]}
            last = _INPUTS[name] + len(cell.nodes) - 1
            flat = usual and max(cell.concat) == last
            plain[name] = [edge for node in nested for edge in node] if flat else nested
            plain[_concat_key(name)] = list(cell.concat)
        return plain

    @classmethod
    def from_json(cls, value: Any, where: str = "genotype") -> Genotype:
        """Read the published form. Raises `GenotypeError` that names `where` and what is wrong."""
        if isinstance(value, Mapping) and isinstance(value.get("genotype"), Mapping | str):
            value = value["genotype"]
        if isinstance(value, str):
            value = _from_arch_string(value, where)
        if not isinstance(value, Mapping):
            raise GenotypeError(f"{where}: a genotype is a JSON object with normal and reduce, or recurrent, or cell")
        types = next((types for types in (RECURRENT, SINGLE) if types[0] in value), CONVOLUTIONAL)
        expected = {key for name in types for key in (name, _concat_key(name))}
        if missing := sorted(expected - set(value)):
            raise GenotypeError(f"{where}: {', '.join(missing)} missing (a genotype has {', '.join(sorted(expected))})")
        if unknown := sorted(set(map(str, value)) - expected):
            raise GenotypeError(f"{where}: unknown {', '.join(unknown)} (allowed: {', '.join(sorted(expected))})")
        return cls(tuple((name, _read_cell(value[name], value[_concat_key(name)], name, where)) for name in types))

    @classmethod
    def from_file(cls, path: Path) -> Genotype:
        """Read a JSON file. Raises `GenotypeError` naming the file, and the line where the JSON breaks."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise GenotypeError(f"{path}: cannot be read: {error.strerror}") from error
        except json.JSONDecodeError as error:
            raise GenotypeError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
        except (UnicodeDecodeError, RecursionError) as error:
            raise GenotypeError(f"{path}: not a JSON text: {type(error).__name__}") from error
        return cls.from_json(value, str(path))


def describe_genotype(genotype: Mapping[str, Any]) -> dict[str, Any]:
    """What a result keeps beside a genotype: its canonical id, and its skip connections per cell type."""
    found = Genotype.from_json(genotype, "result")
    return {"genotype_id": found.id, "skips": found.skips()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_edge(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str) and _is_number(value[1])


def _is_triple(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and _is_edge(value[:2]) and _is_number(value[2])


def _from_triples(edges: list[Any], concat: tuple[int, ...], cell_type: str, where: str) -> list[list[Any]]:
    """`[primitive, a, b]` into one list a node: the larger number is the node the edge ends in."""
    first = _INPUTS[cell_type]
    last = max(*concat, *(max(a, b) for _, a, b in edges))
    if last > _MOST_NODES:
        raise GenotypeError(f"{where}: {cell_type} names node {last}; at most {_MOST_NODES} are read")
    nodes: list[list[Any]] = [[] for _ in range(first, last + 1)]
    for primitive, a, b in edges:
        if a == b or max(a, b) < first:
            raise GenotypeError(f"{where}: {cell_type}: no edge can join node {a} and node {b} ({primitive})")
        nodes[max(a, b) - first].append([primitive, min(a, b)])
    return nodes


_ARCH_EDGE = re.compile(r"^([A-Za-z0-9_]+)~(\d+)$")


def _from_arch_string(text: str, where: str) -> dict[str, Any]:
    """NAS-Bench-201's notation into the JSON form: nodes divided by `+`, edges `primitive~src` between bars."""
    nodes = []
    for node in text.split("+"):
        edges = [_ARCH_EDGE.match(edge) for edge in node.strip("|").split("|")]
        if not all(edges):
            raise GenotypeError(f"{where}: {text[:80]!r} is no architecture like |nor_conv_3x3~0|+|none~0|...|+|...|")
        nodes.append([[edge[1], int(edge[2])] for edge in edges if edge])
    return {"cell": nodes, "cell_concat": [len(nodes)]}


def _read_concat(concat: Any, cell_type: str, where: str) -> tuple[int, ...]:
    ok = isinstance(concat, list | tuple) and all(
        isinstance(node, int) and not isinstance(node, bool) for node in concat
    )
    if not ok or not concat or len(set(concat)) != len(concat):
        raise GenotypeError(
            f"{where}: {_concat_key(cell_type)} must be a list of distinct node numbers, not {concat!r}"
        )
    return tuple(concat)


def _grouped(edges: list[Any], concat: tuple[int, ...], cell_type: str, where: str) -> list[list[Any]]:
    """Flat pairs into one list a node: published cells have two edges a node, recurrent ones one."""
    per_node = _PER_NODE[cell_type] or 1
    nodes = len(edges) // per_node
    if max(concat) == nodes + _INPUTS[cell_type] - 1 and len(edges) % per_node == 0:
        return [edges[start : start + per_node] for start in range(0, len(edges), per_node)]
    nodes = max(concat) - _INPUTS[cell_type] + 1
    if nodes < 1 or len(edges) % nodes:
        raise GenotypeError(
            f"{where}: {cell_type}: {len(edges)} edges cannot be shared evenly among the {max(nodes, 0)} nodes that "
            f"{_concat_key(cell_type)} names; nest the pairs, a list for each node"
        )
    per_node = len(edges) // nodes
    return [edges[start : start + per_node] for start in range(0, len(edges), per_node)]


def _read_cell(edges: Any, concat: Any, cell_type: str, where: str) -> CellGenotype:
    concat = _read_concat(concat, cell_type, where)
    if not isinstance(edges, list | tuple) or not edges:
        raise GenotypeError(f"{where}: {cell_type} must be a list of [primitive, src] pairs")
    nodes = list(edges)
    if all(_is_edge(edge) for edge in edges):
        nodes = _grouped(nodes, concat, cell_type, where)
    elif all(_is_triple(edge) for edge in edges):
        nodes = _from_triples(nodes, concat, cell_type, where)
    read = []
    for number, node in enumerate(nodes, start=_INPUTS[cell_type]):
        if not isinstance(node, list | tuple) or not all(_is_edge(edge) for edge in node):
            raise GenotypeError(
                f"{where}: {cell_type}, node {number}: each edge is a pair [primitive, src], not {node!r}"
            )
        for primitive, src in node:
            if not 0 <= src < number:
                raise GenotypeError(
                    f"{where}: {cell_type}, node {number}: {primitive} comes from node {src}; "
                    f"only 0..{number - 1} come before it"
                )
        read.append(tuple((primitive, src) for primitive, src in node))
    last = len(read) + _INPUTS[cell_type] - 1
    if bad := [node for node in concat if not _INPUTS[cell_type] <= node <= last]:
        raise GenotypeError(
            f"{where}: {_concat_key(cell_type)} names node {bad[0]}; this cell has {_INPUTS[cell_type]}..{last}"
        )
    return CellGenotype(tuple(read), concat)
