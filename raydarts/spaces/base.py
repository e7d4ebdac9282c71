"""What the rest of raydarts knows of a search space."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import ValidationError
from torch import Tensor, nn

from raydarts.errors import GenotypeError, InputError
from raydarts.genotypes.facts import NOTHING, Kinds, has_parameters, judged_of
from raydarts.genotypes.genotype import Genotype, OwnSpace, usual_skip
from raydarts.outside import is_outside, names_in
from raydarts.registry import Component, Member, UnknownNameError, members, nearest, parse_strictly, resolve
from raydarts.spaces.primitives import has_weights
from raydarts.spaces.transform import MixedTransform
from raydarts.tasks import Classification, Task


class Edge(NamedTuple):
    """An edge from node `src` to node `dst`. A cell's inputs have the first numbers."""

    src: int
    dst: int


@dataclass(frozen=True)
class CellSpec:
    """A cell type as a DAG: `num_inputs` inputs, then `num_nodes` intermediate nodes.

    `edges` are ordered by destination, then source. `candidates[e]` are the primitives of edge e. So alpha of this cell
    type is `(len(edges), len(candidates[e]))`.
    """

    num_inputs: int
    num_nodes: int
    edges: tuple[Edge, ...]
    candidates: tuple[tuple[str, ...], ...]

    @property
    def alpha_shape(self) -> tuple[int, int]:
        return (len(self.edges), len(self.candidates[0]))

    def incoming(self, dst: int) -> list[int]:
        """Returns the indices of the edges that end in `dst`."""
        return [index for index, edge in enumerate(self.edges) if edge.dst == dst]


class NetworkSize(Protocol):
    """What a space reads from an evaluation network's settings."""

    @property
    def channels(self) -> int: ...

    @property
    def layers(self) -> int: ...

    @property
    def auxiliary_weight(self) -> float: ...

    @property
    def stem(self) -> str: ...


class Space(Member):
    """A search space (family `space`): its cells, its supernet, its discrete network.

    - `TASK`: what it can be searched on.
    - `KEEPS_ALL_EDGES`: a genotype has every edge of the cell, with `ZERO` among its primitives. Otherwise a selection
      picks `EDGES_PER_NODE` edges by default and never `ZERO`.
    - `EXACT_EDGES`: a node has exactly `EDGES_PER_NODE` edges.
    - `SEARCH_ONLY`: settings that only the supernet reads. A genotype of a space from outside keeps all others.
    - `PARAMETER_FREE`: the candidates without parameters, beside the shipped ones. None: the names say it, and a
      `module:Class` is built and counted.
    - `NOTHING`: the candidates that do not pass on their input (noise, `none`).
    - `JUDGED`: the cell types whose shares are judged (`kinds`). None: all but the reduction cell.
    - `LANES`: the supernet can hold several lanes.
    - `HEALTH`: bars of health checks that differ from the checks' defaults, as `sweep.health` has them.
    """

    TASK: ClassVar[type[Task]] = Classification

    SKIP: ClassVar[str] = "skip_connect"
    ZERO: ClassVar[str] = "none"
    KEEPS_ALL_EDGES: ClassVar[bool] = False
    EDGES_PER_NODE: ClassVar[int] = 2
    EXACT_EDGES: ClassVar[bool] = False
    SEARCH_ONLY: ClassVar[frozenset[str]] = frozenset()
    PARAMETER_FREE: ClassVar[frozenset[str] | None] = None
    NOTHING: ClassVar[frozenset[str]] = NOTHING
    JUDGED: ClassVar[tuple[str, ...] | None] = None
    HEALTH: ClassVar[Mapping[str, object]] = {}

    @property
    @abstractmethod
    def cells(self) -> Mapping[str, CellSpec]:
        """The cell types that have an alpha, in order."""

    def narrowed(self, cells: Mapping[str, CellSpec], layers: int | None = None) -> Space:
        """Returns this space with other candidates on its edges and, if it counts layers, another number of them.

        Raises `InputError` if `layers` is given and the space has no such setting.
        """
        if layers is not None and "layers" not in type(self.settings).model_fields:
            raise InputError(f"space {self.registered} has no number of layers to change")
        other = copy.copy(self)
        if layers is not None:
            other.settings = self.settings.model_copy(update={"layers": layers})
        vars(other)["cells"] = dict(cells)  # where cached_property keeps its value
        return other

    @abstractmethod
    def supernet(self, task: Task, transforms: Sequence[MixedTransform] = (), lanes: int = 1) -> nn.Module:
        """Returns a module `forward(inputs, arch_weights)` that `task.loss` can call.

        `arch_weights` holds `(num_edges, num_ops)` or `(layers, num_edges, num_ops)` for each cell type. The module's
        `layers(inputs)` returns the number of layers of each type. If it does not depend on the inputs, `layers()`
        returns it too.

        Only a space with `LANES` is called with `lanes` above 1 (see `lanes`). Inputs are
        `(batch, lanes * channels, H, W)` then, arch weights have a first dimension of lanes, and logits are
        `(lanes, batch, classes)`. On text `lengths` is given too, if the lanes' batches have different ones
        (`tasks.Batch`).
        """

    @abstractmethod
    def genotype(self, picks: Mapping[str, Sequence[tuple[int, str]]]) -> Genotype:
        """Returns the genotype of the picked `(edge index, primitive)` of each cell type, in edge order."""

    @abstractmethod
    def network(self, genotype: Genotype, task: Task, settings: Any) -> nn.Module:
        """Returns the discrete network of this size (`NetworkSize` or `RecurrentNetworkSettings`).

        Raises `GenotypeError` if the genotype is not of this space.
        """

    @abstractmethod
    def standard_network(self, genotype: Genotype) -> tuple[nn.Module, Tensor]:
        """Returns the paper's evaluation network without its auxiliary head, and one input."""

    def known_primitives(self) -> list[str]:
        """Returns the primitives that a genotype of this space may have."""
        cells = self.cells.values()
        return list(dict.fromkeys(name for cell in cells for candidates in cell.candidates for name in candidates))

    @cached_property
    def kinds(self) -> Kinds:
        """What the space says of its primitives, for facts of its genotypes.

        Raises `InputError` with the candidates of which nothing is known.
        """
        free, unknown = set(self.PARAMETER_FREE or ()), set()
        for cell_type in self.cells:
            for primitive in self.known_primitives():
                answer = has_parameters(primitive, cell_type)
                if answer is None and is_outside(primitive):
                    answer = has_weights(primitive)
                if answer is False or primitive == self.ZERO:
                    free.add(primitive)
                elif answer is None and self.PARAMETER_FREE is None:
                    unknown.add(primitive)
        if unknown:
            raise InputError(
                f"space {self.registered} does not say whether {', '.join(sorted(unknown))} has parameters; give the "
                "class PARAMETER_FREE = frozenset({...}) with the candidates that have none"
            )
        judged = judged_of(self.cells) if self.JUDGED is None else self.JUDGED
        return Kinds(self.SKIP, frozenset(free), self.NOTHING | {self.ZERO}, judged)

    def check_network(self, settings: Any) -> None:
        """Raises `InputError` if no network of this size can be built, whatever the genotype."""

    def marked(self, genotype: Genotype) -> Genotype:
        """Returns the genotype with everything needed to build its network elsewhere: the name of a space from outside.

        A genotype of a shipped space is unchanged, because its primitives identify the space.
        """
        if self.outside_name is None:
            return genotype
        fields, values = type(self.settings).model_fields, self.settings.model_dump(mode="json")
        kept = {key: values[key] for key in values if key not in self.SEARCH_ONLY or fields[key].is_required()}
        usual = all(usual_skip(name) == self.SKIP for name in genotype.cell_types)
        return replace(genotype, space=OwnSpace.of(self.outside_name, kept), skip=None if usual else self.SKIP)

    def outside_primitives(self) -> set[str]:
        """Returns the candidates whose code is the user's own."""
        return names_in([cell.candidates for cell in self.cells.values()])

    def owns(self, genotype: Genotype) -> bool:
        """Returns whether the genotype's cell types and primitives are this space's."""
        if set(genotype.cell_types) != set(self.cells):
            return False
        for name, cell in genotype.cells:
            allowed = {primitive for candidates in self.cells[name].candidates for primitive in candidates}
            if any(primitive not in allowed for primitive, _ in cell.edges()):
                return False
        return True


def space_of(genotype: Genotype, where: str = "") -> Space:
    """Returns the space of a genotype: the one it names, else the first whose cell types and primitives include the
    genotype's.

    Raises `GenotypeError`, which starts with `where`, if there is none.
    """
    if genotype.space is not None:
        return _named_space(genotype, genotype.space, f"{where}: " if where else "")
    for member in members("space").values():
        space = member(member.Settings())
        if isinstance(space, Space) and space.owns(genotype):
            return space
    primitives = sorted({primitive for _, cell in genotype.cells for primitive, _ in cell.edges()})
    begin = f"{where}: " if where else ""
    if unknown := unknown_primitive(genotype, where):
        raise GenotypeError(unknown)
    raise GenotypeError(
        f"{begin}no space has cells {', '.join(genotype.cell_types)} "
        f"with the primitives {', '.join(primitives)} "
        f"(spaces: {', '.join(members('space'))})"
    )


def unknown_primitive(genotype: Genotype, where: str) -> str | None:
    """Returns a message with the primitives that no space with the genotype's cell types has, the allowed ones, and the
    file's line.

    None means that all are known, or that no space has these cell types.
    """
    spaces = [member(member.Settings()) for member in members("space").values()]
    known = {
        space.NAME: space.known_primitives()
        for space in spaces
        if isinstance(space, Space) and set(space.cells) == set(genotype.cell_types)
    }
    primitives = sorted({primitive for _, cell in genotype.cells for primitive, _ in cell.edges()})
    allowed = list(dict.fromkeys(name for names in known.values() for name in names))
    unknown = [name for name in primitives if name not in allowed and ":" not in name]
    if not known or not unknown:
        return None
    place = dict(genotype.places).get(unknown[0], where)
    more = f" (nor {', '.join(unknown[1:])})" if unknown[1:] else ""
    hint = nearest(unknown[0], allowed)
    begin = f"{place}: " if place else ""
    return f"{begin}no space has the primitive '{unknown[0]}'{more}{hint} (allowed: {', '.join(allowed)})"


def of_spaces(genotype: Genotype, spaces: Mapping[str, Space]) -> Genotype | None:
    """Returns the genotype as one of these spaces has it, or None if it belongs to none. Nothing is loaded.

    `spaces` are those of a spec, by name. A genotype that names its space belongs only to that one. If it names none
    and belongs to a space from outside, it gets that space's mark.
    """
    if genotype.space is not None:
        space = spaces.get(genotype.space.name)
        return genotype if space is not None and space.owns(genotype) else None
    owners = [space for space in spaces.values() if space.owns(genotype)]
    shipped = any(space.outside_name is None for space in owners)
    return genotype if shipped else owners[0].marked(genotype) if owners else None


def _named_space(genotype: Genotype, named: OwnSpace, begin: str) -> Space:
    """Builds the user's own space that the genotype names, with the settings that the genotype keeps."""
    try:
        settings = parse_strictly(resolve("space", named.name).Settings, named.values())
    except UnknownNameError as error:
        raise GenotypeError(f"{begin}{error}") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)
        )
        raise GenotypeError(f"{begin}space {named.name}: {wrong}") from error
    space: Space = Component(family="space", name=named.name, settings=settings).build()
    if not space.owns(genotype):
        raise GenotypeError(f"{begin}names the space {named.name}, whose cells or primitives are others")
    return space
