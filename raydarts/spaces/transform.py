"""The seam where a remedy changes a mixed operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from raydarts.errors import InputError


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


class Mixed(nn.Module):
    """A cell of mixed operations. `skips_zeros`: candidates whose arch weight is exactly 0 take no part in a pass."""

    skips_zeros: bool = False


class MixedTransform:
    """Changes what mixed operations compute; each method is a no-op by default. Several act in list order.

    A transform with parameters returns a module from `build`; it becomes part of the supernet's
    weights and is handed back to `on_edge`.
    """

    def build(self, edge: MixedEdge) -> nn.Module | None:
        """Parameters of its own for one edge."""
        return None

    def share(self, channels: int) -> int:
        """How many of a source's `channels`, the first ones, the candidates see.

        Whoever gives fewer must make the sum as wide again in `on_edge`, and does so before the others act.
        """
        return channels

    def on_operation(self, output: Tensor, edge: MixedEdge, primitive: str, *, training: bool) -> Tensor:
        """Change one candidate's output, before it is weighted."""
        return output

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        """Change the weighted sum; `source` is the edge's input, with all its channels."""
        return output


def overrides(transform: MixedTransform, hook: str) -> bool:
    """Whether a transform does anything in this hook (so that no-ops cost nothing)."""
    return getattr(type(transform), hook) is not getattr(MixedTransform, hook)


def seen_by_candidates(transforms: Sequence[MixedTransform], channels: int) -> int:
    """The channels that candidates see under these transforms. Two that narrow them: `InputError`."""
    narrowing = [transform for transform in transforms if overrides(transform, "share")]
    if len(narrowing) > 1:
        raise InputError("two remedies give the candidates a part of the channels: choose one of them")
    return narrowing[0].share(channels) if narrowing else channels


def by_layer(types: Sequence[str], arch_weights: Mapping[str, Tensor]) -> list[Tensor]:
    """Each layer's arch weights, `(num_edges, num_ops)`: its type's, or its own where the type's have one for each."""
    seen: dict[str, int] = {}
    layers = []
    for cell_type in types:
        weights, number = arch_weights[cell_type], seen.get(cell_type, 0)
        layers.append(weights if weights.dim() == 2 else weights[number])
        seen[cell_type] = number + 1
    return layers
