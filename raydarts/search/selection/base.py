"""What a selection is: it turns alpha into a genotype."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from raydarts.errors import InputError
from raydarts.registry import Member
from raydarts.search.moments import Tuning
from raydarts.spaces import Genotype, Space
from raydarts.states import State
from raydarts.streams import Streams

Judge = Callable[[Mapping[str, Tensor]], float]
"""Arch weights by cell type -> the supernet's score with them on the alpha half: accuracy, or of text -loss."""


def require_edges(space: Space, edges_per_node: int | None) -> None:
    """Raises `InputError` if a cell of the space cannot have this many edges for each node.

    None is the space's rule.
    """
    if edges_per_node is None:
        return
    if space.KEEPS_ALL_EDGES:
        raise InputError(f"edges_per_node: space {space.registered} keeps every edge; leave edges_per_node out")
    if space.EXACT_EDGES and edges_per_node != space.EDGES_PER_NODE:
        raise InputError(
            f"edges_per_node: every node of space {space.registered} has {space.EDGES_PER_NODE} edge, not "
            f"{edges_per_node}; leave edges_per_node out"
        )


class Selection(Member):
    """Picks the genotype (family `selection`).

    Most selections pick at once from the arch weights. A selection that needs the supernet says how many epochs it
    takes (`epochs`). After the search the weights are trained for these epochs. `decide` is called before each of them
    and once after the last. `project` imposes the decisions on the arch weights.
    """

    @abstractmethod
    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        """Returns the genotype. `arch_weights` holds `(num_edges, num_ops)` for each cell type."""

    def check(self, space: Space) -> None:
        """Raises `InputError` if these settings make no sense in the space. Called when a spec is read."""

    def bind(self, streams: Streams) -> None:
        """Called once before everything else. A selection that draws at random takes its stream here."""

    def epochs(self, space: Space) -> int:
        """Returns the number of training epochs it needs after the search."""
        return 0

    def tuning(self, lr: float) -> Tuning:
        """Returns how the weights are trained in these epochs, given the search's first learning rate."""
        return Tuning(lr)

    def decide(self, epoch: int, space: Space, arch_weights: Mapping[str, Tensor], judge: Judge) -> None:
        """Makes a decision. Called before each of its epochs, from 0, and once after the last.

        `arch_weights` are the projected ones.
        """

    def project(self, arch_weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the arch weights with all decisions imposed. Called in every pass."""
        return arch_weights

    def state_dict(self) -> State:
        """Returns what has been decided."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restores what `state_dict()` returned."""
