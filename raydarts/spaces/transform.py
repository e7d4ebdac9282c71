"""The seam where a remedy changes a mixed operation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class MixedEdge:
    """Where a mixed operation stands: the layer (cell) it is in, its cell type, its edge, stride and channels."""

    layer: int
    cell_type: str
    index: int
    src: int
    dst: int
    stride: int
    channels: int


class MixedTransform:
    """Changes what mixed operations compute; each method is a no-op by default. Several act in list order.

    A transform with parameters returns a module from `build`; it becomes part of the supernet's
    weights and is handed back to `on_edge`.
    """

    def build(self, edge: MixedEdge) -> nn.Module | None:
        """Parameters of its own for one edge."""
        return None

    def on_operation(self, output: Tensor, edge: MixedEdge, primitive: str, *, training: bool) -> Tensor:
        """Change one candidate's output, before it is weighted."""
        return output

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        """Change the weighted sum; `source` is the edge's input."""
        return output


def overrides(transform: MixedTransform, hook: str) -> bool:
    """Whether a transform does anything in this hook (so that no-ops cost nothing)."""
    return getattr(type(transform), hook) is not getattr(MixedTransform, hook)
