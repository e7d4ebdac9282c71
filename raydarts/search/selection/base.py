"""What a selection is: alpha to genotype."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from raydarts.errors import InputError
from raydarts.registry import Member
from raydarts.search.moments import Tuning
from raydarts.spaces import Genotype, Space
from raydarts.streams import Streams

Judge = Callable[[Mapping[str, Tensor]], float]
"""Arch weights by cell type -> the supernet's score with them on the alpha half: accuracy, or of text -loss."""


def require_edges(space: Space, edges_per_node: int | None) -> None:
    """Raise `InputError` where a cell of the space cannot have so many edges a node (None: the space's own rule)."""
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

    Most pick at once, from the arch weights. One that needs the supernet says how many epochs it takes
    (`epochs`): after the search proper the weights train on, and before each of these epochs, and once after
    the last, `decide` is asked; what it has decided is imposed on the arch weights by `project`.
    """

    @abstractmethod
    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        """`arch_weights`: `(num_edges, num_ops)` for each cell type."""

    def check(self, space: Space) -> None:
        """Raise `InputError` where these settings make no sense in the space. Asked when a spec is read."""

    def bind(self, streams: Streams) -> None:
        """Called once before anything else; whoever draws at random takes a stream of its own."""

    def epochs(self, space: Space) -> int:
        """Epochs of training it needs after the search proper."""
        return 0

    def tuning(self, lr: float) -> Tuning:
        """How the weights train meanwhile, given the search's first learning rate."""
        return Tuning(lr)

    def decide(self, epoch: int, space: Space, arch_weights: Mapping[str, Tensor], judge: Judge) -> None:
        """Before its `epoch`, from 0, and once after the last. `arch_weights` are the projected ones."""

    def project(self, arch_weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The arch weights with all that has been decided imposed; in every pass."""
        return arch_weights

    def state_dict(self) -> dict[str, Any]:
        """What has been decided."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up from `state_dict()`."""
