"""Genotypes: the discrete result of a search. JSON in and out, never `eval`.

A genotype is read from JSON, from the authors' Python text and from NAS-Bench-201's notation (see `text`). The JSON is
the form in which genotypes are published. Each cell type has a list of `[primitive, src]` pairs, with the incoming
edges of the first intermediate node first, and the nodes that the cell's output concatenates. A convolutional genotype
has `normal`, `normal_concat`, `reduce` and `reduce_concat`. A recurrent one has `recurrent` and `concat`. One of
NAS-Bench-201 has `cell` and `cell_concat`. Nodes are numbered with the cell's inputs first.

There are three forms of edges:

- Flat pairs: every intermediate node has two incoming edges (recurrent: one), as the authors' code reads it. If
  `concat` names more nodes than that makes, all nodes have equally many edges.
- Nested pairs: one list for each node. An empty list is a node without edges, which is zeros.
- Triples `[primitive, a, b]` between nodes a and b, in either order (FairDARTS). Nodes without edges are not
  concatenated, whatever `concat` names. A triple whose third value is a fraction, `[primitive, src, strength]`, is a
  pair (GDAS). Strengths are dropped.

A genotype of a space of the user's own has two more keys, which are needed to build its network elsewhere: `space`, as
in a spec (`module:Class`, or `{name: module:Class, setting: value}` with the settings that the network depends on), and
`skip`, the primitive that counts as its skip connection, if it is not the usual one. A primitive of the user's own is
named `module:Class` too. Reading a genotype loads none of this code.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn, TypeGuard

from raydarts.errors import GenotypeError
from raydarts.genotypes import text as genotype_text
from raydarts.genotypes.source import GenotypeFile, RunGenotype
from raydarts.json_types import Json, items
from raydarts.outside import is_outside, names_in

CONVOLUTIONAL = ("normal", "reduce")
RECURRENT = ("recurrent",)
SINGLE = ("cell",)
_INPUTS = {"normal": 2, "reduce": 2, "recurrent": 1, "cell": 1}
_PER_NODE = {"normal": 2, "reduce": 2, "recurrent": 1, "cell": 0}  # edges in the flat form; a `cell` has none
_MOST_NODES, _MOST_EDGES = 1000, 10_000
OF_OWN_SPACES = ("space", "skip")
"""Further keys of a genotype of such a space."""

_PRIMITIVE = re.compile(r"^[\w.:-]{1,100}$", re.ASCII)

Choice = tuple[str, int]


def _concat_key(cell_type: str) -> str:
    return "concat" if cell_type == "recurrent" else f"{cell_type}_concat"


@dataclass(frozen=True)
class CellGenotype:
    """One cell: for each intermediate node its incoming `(primitive, src)` edges, and the output's nodes."""

    nodes: tuple[tuple[Choice, ...], ...]
    concat: tuple[int, ...]

    def count(self, primitive: str) -> int:
        """Returns the number of edges with `primitive`."""
        return sum(name == primitive for node in self.nodes for name, _ in node)

    def edges(self) -> list[Choice]:
        return [choice for node in self.nodes for choice in node]


@dataclass(frozen=True)
class OwnSpace:
    """A space of the user's own: `module:Class`, and the settings that a genotype's network depends on, as JSON."""

    name: str
    settings: str = "{}"

    @classmethod
    def of(cls, name: str, settings: Mapping[str, object]) -> OwnSpace:
        return cls(name, json.dumps(dict(settings), sort_keys=True))

    @classmethod
    def from_json(cls, value: object, where: str) -> OwnSpace:
        """Reads the form of a spec. Raises `GenotypeError`."""
        settings = dict(value) if isinstance(value, Mapping) else {"name": value}
        name = settings.pop("name", None)
        if not isinstance(name, str) or not is_outside(name):
            raise GenotypeError(
                f"{where}: space names a space of your own: module:Class, or {{name: module:Class, setting: value}}, "
                f"not {reprlib.repr(value)}; leave it out where the space is one of raydarts'"
            )
        return cls.of(name, settings)

    def values(self) -> dict[str, Json]:
        """Returns the settings."""
        return dict(json.loads(self.settings))

    def to_json(self) -> Json:
        settings = self.values()
        return {"name": self.name, **settings} if settings else self.name


@dataclass(frozen=True)
class Genotype:
    """A cell for each cell type, in the order of the space.

    - `space`: the space, if it is one of the user's own. None: one of raydarts', which its primitives identify.
    - `skip`: the primitive that counts as the skip connection. None: `skip_connect`, or `identity` in a recurrent cell.
    """

    cells: tuple[tuple[str, CellGenotype], ...]
    space: OwnSpace | None = None
    skip: str | None = None
    places: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    """Of a file's genotype: where each primitive stands, as file:line."""

    def __getitem__(self, cell_type: str) -> CellGenotype:
        return dict(self.cells)[cell_type]

    @property
    def cell_types(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.cells)

    @property
    def id(self) -> str:
        """Ten hex digits, equal for genotypes with the same edges in any order within a node.

        Equal edges in another space of the user's own are another genotype, because the network differs.
        """
        canonical: dict[str, object] = {
            name: [[sorted(node, key=lambda edge: (edge[1], edge[0])) for node in cell.nodes], sorted(cell.concat)]
            for name, cell in self.cells
        }
        if self.space is not None:
            canonical["space"] = self.space.to_json()
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:10]

    def skips(self, primitive: str | None = None) -> dict[str, int]:
        """Returns the number of skip connections of each cell type.

        `primitive` is what counts as one. By default the genotype says it.
        """
        counted = primitive or self.skip
        return {name: cell.count(counted or usual_skip(name)) for name, cell in self.cells}

    def outside_names(self) -> set[str]:
        """Returns the names of the user's own code that the genotype's network needs."""
        return names_in(self.to_json())

    def to_json(self) -> dict[str, Json]:
        """Returns the published form, with lists only."""
        plain: dict[str, Json] = {}
        for name, cell in self.cells:
            nested: list[list[list[str | int]]] = [[[*edge] for edge in node] for node in cell.nodes]
            # Flat only if it reads back correctly: as many edges a node as published, the last node concatenated.
            usual = {len(node) for node in cell.nodes} == {_PER_NODE[name]}
            last = _INPUTS[name] + len(cell.nodes) - 1
            flat = usual and max(cell.concat) == last
            edges = [edge for node in nested for edge in node]
            plain[name] = edges if flat else [*nested]
            plain[_concat_key(name)] = list(cell.concat)
        if self.space is not None:
            plain["space"] = self.space.to_json()
        if self.skip is not None:
            plain["skip"] = self.skip
        return plain

    @classmethod
    def from_json(cls, value: object, where: str = "genotype") -> Genotype:
        """Reads the published form. Raises `GenotypeError` with `where` and the problem."""
        if isinstance(value, Mapping) and isinstance(value.get("genotype"), Mapping | str):
            value = value["genotype"]
        if isinstance(value, str):
            value = genotype_text.read_text(value, where)
        if not isinstance(value, Mapping):
            raise GenotypeError(f"{where}: a genotype is a JSON object with normal and reduce, or recurrent, or cell")
        types = next((types for types in (RECURRENT, SINGLE) if types[0] in value), CONVOLUTIONAL)
        expected = {key for name in types for key in (name, _concat_key(name))}
        if missing := sorted(expected - set(value)):
            raise GenotypeError(f"{where}: {', '.join(missing)} missing (a genotype has {', '.join(sorted(expected))})")
        if unknown := sorted(ascii(key)[1:-1][:80] for key in set(map(str, value)) - expected - set(OF_OWN_SPACES)):
            allowed = ", ".join([*sorted(expected), *OF_OWN_SPACES])
            raise GenotypeError(f"{where}: unknown {', '.join(unknown[:10])} (allowed: {allowed})")
        cells = tuple((name, _Reader(name, where).cell(value[name], value[_concat_key(name)])) for name in types)
        space = None if value.get("space") is None else OwnSpace.from_json(value["space"], where)
        return cls(cells, space, _skip(value.get("skip"), where))

    @classmethod
    def from_file(cls, file: GenotypeFile) -> Genotype:
        """Reads a file: JSON, or one of the texts of `text`. Raises `GenotypeError` with the file."""
        value, text = genotype_text.read_file(file)
        genotype = cls.from_json(value, str(file))
        primitives = {primitive for _, cell in genotype.cells for primitive, _ in cell.edges()}
        path = file if isinstance(file, Path | RunGenotype) else file.path
        places = {name: f"{path}:{line}" for name, line in genotype_text.lines_of(text, primitives).items()}
        return replace(genotype, places=tuple(sorted(places.items())))


def inputs_of(cell_type: str) -> int:
    """Returns the number of inputs of a cell. Its nodes are numbered after them."""
    return _INPUTS[cell_type]


def usual_skip(cell_type: str) -> str:
    """Returns the primitive that is the skip connection of a cell type in raydarts' own spaces."""
    return "identity" if cell_type == "recurrent" else "skip_connect"


def _skip(value: object, where: str) -> str | None:
    if value is not None and not (isinstance(value, str) and _PRIMITIVE.match(value)):
        raise GenotypeError(f"{where}: skip names the primitive that is a skip connection, not {reprlib.repr(value)}")
    return value


def describe_genotype(genotype: Mapping[str, object]) -> dict[str, object]:
    """Returns what a result keeps beside a genotype: its id, and its skip connections for each cell type."""
    parsed = Genotype.from_json(genotype, "result")
    return {"genotype_id": parsed.id, "skips": parsed.skips()}


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_edge(value: object) -> TypeGuard[tuple[str, int]]:
    """Returns whether a value is `[primitive, src]`, as a list or a tuple."""
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str) and _is_number(value[1])


def _is_triple(value: object) -> TypeGuard[tuple[str, int, int]]:
    return isinstance(value, list | tuple) and len(value) == 3 and _is_edge(value[:2]) and _is_number(value[2])


def _without_strength(value: object) -> object:
    """Returns `[primitive, src, strength]` as a pair, and anything else unchanged."""
    if isinstance(value, list | tuple) and len(value) == 3 and _is_edge(value[:2]) and isinstance(value[2], float):
        return value[:2]
    return value


@dataclass(frozen=True)
class _Reader:
    """Reads one cell. Each error starts with `where`."""

    cell_type: str
    where: str

    def cell(self, edges: object, concat: object) -> CellGenotype:
        concat = self._concat(concat)
        if not isinstance(edges, list | tuple) or not edges:
            self._refuse(" must be a list of [primitive, src] pairs")
        given, concat = self._nodes(edges, concat)
        nodes = [self._node(number, node) for number, node in enumerate(given, self._first)]
        last = len(nodes) + self._first - 1
        if bad := [node for node in concat if not self._first <= node <= last]:
            raise GenotypeError(
                f"{self.where}: {_concat_key(self.cell_type)} names node {bad[0]}; this cell has {self._first}..{last}"
            )
        return CellGenotype(tuple(nodes), concat)

    @property
    def _first(self) -> int:
        return _INPUTS[self.cell_type]

    def _refuse(self, what: str) -> NoReturn:
        raise GenotypeError(f"{self.where}: {self.cell_type}{what}")

    def _concat(self, concat: object) -> tuple[int, ...]:
        nodes = [node for node in items(concat) if _is_number(node)]
        if not nodes or len(nodes) != len(items(concat)) or len(set(nodes)) != len(nodes):
            raise GenotypeError(
                f"{self.where}: {_concat_key(self.cell_type)} must be a list of distinct node numbers, "
                f"not {reprlib.repr(concat)}"
            )
        if max(nodes) > _MOST_NODES:
            self._refuse(f" is to have node {reprlib.repr(max(nodes))}; at most {_MOST_NODES} are read")
        return tuple(nodes)

    def _nodes(self, edges: Sequence[object], concat: tuple[int, ...]) -> tuple[Sequence[object], tuple[int, ...]]:
        """Returns one entry for each node, for all forms of edges, and the nodes to concatenate."""
        if len(edges) > _MOST_EDGES:
            self._refuse(f" has {len(edges)} entries; at most {_MOST_EDGES} are read")
        edges = [_without_strength(edge) for edge in edges]
        triples = [edge for edge in edges if _is_triple(edge)]
        if len(triples) == len(edges):
            return self._from_triples(triples, concat)
        if not any(isinstance(edge, list | tuple) and edge and isinstance(edge[0], str) for edge in edges):
            return edges, concat
        for number, edge in enumerate(edges):
            if not _is_edge(edge):
                self._refuse(f", edge {number}: each edge is a pair [primitive, src], not {reprlib.repr(edge)}")
        return self._grouped(edges, concat), concat

    def _from_triples(
        self, edges: Sequence[tuple[str, int, int]], concat: tuple[int, ...]
    ) -> tuple[Sequence[object], tuple[int, ...]]:
        """Turns `[primitive, a, b]` into one list for each node. The edge ends in the larger number.

        Nodes without edges are not concatenated, as in FairDARTS' code, whatever `concat` says.
        """
        last = max(*concat, *(max(a, b) for _, a, b in edges))
        if last > _MOST_NODES:
            self._refuse(f" is to have node {reprlib.repr(last)}; at most {_MOST_NODES} are read")
        nodes: list[list[object]] = [[] for _ in range(self._first, last + 1)]
        for primitive, a, b in edges:
            if a == b or max(a, b) < self._first:
                pair = f"node {reprlib.repr(a)} and node {reprlib.repr(b)}"
                self._refuse(f": no edge can join {pair} ({reprlib.repr(primitive)})")
            nodes[max(a, b) - self._first].append([primitive, min(a, b)])
        kept = tuple(node for node in concat if node < self._first or nodes[node - self._first])
        if not kept:
            self._refuse(f": no node that {_concat_key(self.cell_type)} names has an edge")
        return nodes, kept

    def _grouped(self, edges: Sequence[object], concat: tuple[int, ...]) -> list[Sequence[object]]:
        """Groups flat pairs into one list for each node. Published cells have two edges a node, recurrent ones one."""
        per_node = _PER_NODE[self.cell_type] or 1
        named = max(concat) - self._first + 1
        if len(edges) % per_node or named > len(edges) // per_node:
            if named < 1 or len(edges) % named:
                self._refuse(
                    f": {len(edges)} edges cannot be shared evenly among the {max(named, 0)} nodes that "
                    f"{_concat_key(self.cell_type)} names; nest the pairs, a list for each node"
                )
            per_node = len(edges) // named
        return [edges[start : start + per_node] for start in range(0, len(edges), per_node)]

    def _node(self, number: int, node: object) -> tuple[Choice, ...]:
        edges = [_without_strength(edge) for edge in node] if isinstance(node, list | tuple) else [node]
        choices: list[Choice] = []
        for edge in edges:
            if not _is_edge(edge):
                self._refuse(f", node {number}: each edge is a pair [primitive, src], not {reprlib.repr(edge)}")
            primitive, src = edge
            if not _PRIMITIVE.match(primitive):
                self._refuse(f", node {number}: {reprlib.repr(primitive)} is no primitive's name")
            if not 0 <= src < number:
                self._refuse(
                    f", node {number}: {primitive} comes from node {reprlib.repr(src)}; "
                    f"only 0..{number - 1} come before it"
                )
            choices.append((primitive, src))
        return tuple(choices)
