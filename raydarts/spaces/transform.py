"""Where a remedy changes a mixed operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from raydarts.errors import InputError


@dataclass(frozen=True)
class MixedEdge:
    """The position of a mixed operation: its layer (cell), cell type, edge, stride and channels.

    With `lanes` above 1 a tensor there has `lanes * channels` channels (see `lanes`).
    """

    layer: int
    cell_type: str
    index: int
    src: int
    dst: int
    stride: int
    channels: int
    lanes: int = 1


class Mixed(nn.Module):
    """A cell of mixed operations. With `skips_zeros`, a pass leaves out candidates whose arch weight is exactly 0."""

    skips_zeros: bool = False


class MixedTransform:
    """Changes what mixed operations compute. By default each method does nothing. Several act in list order.

    A transform with parameters returns a module from `build`. The module becomes part of the supernet's weights.
    `on_edge` receives it.

    `LANES`: the transforms of several searches can act on a supernet that holds these searches as lanes (`fused`). A
    class says so itself; it does not inherit it.
    """

    LANES: ClassVar[bool] = False

    def __init_subclass__(cls, **further: object) -> None:
        super().__init_subclass__(**further)
        cls.LANES = bool(vars(cls).get("LANES", False))

    @classmethod
    def fused(cls, transforms: Sequence[Self]) -> MixedTransform:
        """Returns one transform for several lanes, made of the transform of each lane.

        Each lane keeps its numbers and its generator, also those that its transform is given later. Parameters are
        packed as those of the supernet are (see `lanes`).
        """
        raise InputError(f"{cls.__name__} does not act on lanes")

    def build(self, edge: MixedEdge) -> nn.Module | None:
        """Returns a module with parameters for one edge, or None."""
        return None

    def share(self, channels: int) -> int:
        """Returns how many of a source's `channels` the candidates see. They are the first ones.

        A transform that returns fewer must widen the sum again in `on_edge`. It does so before the others act.
        """
        return channels

    def changes(self, edge: MixedEdge, primitive: str) -> bool:
        """Returns whether `on_operation` may change this candidate now. One that nothing changes costs less."""
        return True

    def on_operation(self, output: Tensor, edge: MixedEdge, primitive: str, *, training: bool) -> Tensor:
        """Returns one candidate's changed output, before it is weighted."""
        return output

    def on_edge(
        self, output: Tensor, source: Tensor, edge: MixedEdge, module: nn.Module | None, *, training: bool
    ) -> Tensor:
        """Returns the changed weighted sum. `source` is the edge's input with all its channels."""
        return output


def overrides(transform: MixedTransform, hook: str) -> bool:
    """Returns whether a transform does anything in this hook, so that hooks without effect cost nothing."""
    return getattr(type(transform), hook) is not getattr(MixedTransform, hook)


def seen_by_candidates(transforms: Sequence[MixedTransform], channels: int) -> int:
    """Returns the number of channels that candidates see under these transforms.

    Raises `InputError` if two of them narrow the channels.
    """
    narrowing = [transform for transform in transforms if overrides(transform, "share")]
    if len(narrowing) > 1:
        raise InputError("two remedies give the candidates a part of the channels: choose one of them")
    return narrowing[0].share(channels) if narrowing else channels


def by_layer(types: Sequence[str], arch_weights: Mapping[str, Tensor], lanes: int = 1) -> list[Tensor]:
    """Returns each layer's arch weights, `(num_edges, num_ops)`. With lanes they have a first dimension of lanes.

    A cell type has one set for all its layers, or one for each layer: `(layers, num_edges, num_ops)`, with lanes
    `(lanes, layers, num_edges, num_ops)`.
    """
    seen: dict[str, int] = {}
    layers = []
    for cell_type in types:
        weights, number = arch_weights[cell_type], seen.get(cell_type, 0)
        if lanes > 1:
            layers.append(weights if weights.dim() == 3 else weights[:, number])
        else:
            layers.append(weights if weights.dim() == 2 else weights[number])
        seen[cell_type] = number + 1
    return layers
