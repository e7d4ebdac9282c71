"""The DARTS cell, in its mixed form (supernet) and its discrete form (a genotype's network)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raydarts.spaces.base import CellSpec
from raydarts.spaces.genotype import CellGenotype
from raydarts.spaces.primitives import Identity, Operation, ReLUConvBN, ReLUReduce, build_operation
from raydarts.spaces.transform import MixedEdge, MixedTransform, overrides


def preprocess(channels_in: int, channels: int, reduced: bool, affine: bool) -> nn.Module:
    """Brings an input to the cell's channels, and to its resolution where the cell between has halved it."""
    return ReLUReduce(channels_in, channels, affine) if reduced else ReLUConvBN(channels_in, channels, affine)


class _Source:
    """A node's output with what several edges need of it, each computed once."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._relu: Tensor | None = None
        self.shared: dict[str, Tensor] = {}

    def of(self, operation: nn.Module) -> Tensor:
        if not getattr(operation, "PREACTIVATED", False):
            return self.x
        if self._relu is None:
            self._relu = torch.relu(self.x)
        return self._relu


class MixedCell(nn.Module):
    """A cell in which every edge is the weighted sum of all its candidates (DARTS paper, eq. 1 and 2).

    `forward(s0, s1, arch_weights)` with `arch_weights` `(num_edges, num_ops)`. Parameter-free
    candidates are computed once per source node and used by every edge that leaves it.
    """

    def __init__(
        self,
        spec: CellSpec,
        layer: int,
        cell_type: str,
        channels_in: tuple[int, int],
        channels: int,
        *,
        stride: int,
        previous_reduced: bool,
        transforms: Sequence[MixedTransform],
    ) -> None:
        super().__init__()
        self.spec = spec
        self.preprocess0 = preprocess(channels_in[0], channels, previous_reduced, affine=False)
        self.preprocess1 = preprocess(channels_in[1], channels, False, affine=False)
        self.edges = tuple(
            MixedEdge(layer, cell_type, index, *edge, stride if edge.src < spec.num_inputs else 1, channels)
            for index, edge in enumerate(spec.edges)
        )
        self.operations = nn.ModuleDict()
        self.keys = tuple(
            tuple(self._add(edge, primitive) for primitive in candidates)
            for edge, candidates in zip(self.edges, spec.candidates, strict=True)
        )
        self.transforms = tuple(transforms)
        self.on_operation = tuple(t for t in transforms if overrides(t, "on_operation"))
        self.extras = nn.ModuleDict()
        for edge in self.edges:
            for number, transform in enumerate(transforms):
                if (module := transform.build(edge)) is not None:
                    self.extras[f"{edge.index}-{number}"] = module

    def _add(self, edge: MixedEdge, primitive: str) -> str | None:
        """Make the module of one candidate, or find the one its source node shares. None for `none`."""
        if primitive == "none":
            return None
        operation = build_operation(primitive, edge.channels, edge.stride, affine=False, normalised=True)
        place = f"from{edge.src}" if operation.SHARED else f"edge{edge.index}"
        key = f"{place}-{primitive}"
        if key not in self.operations:
            self.operations[key] = operation
        return key

    def forward(self, s0: Tensor, s1: Tensor, arch_weights: Tensor) -> Tensor:
        sources = [_Source(self.preprocess0(s0)), _Source(self.preprocess1(s1))]
        weights = [row.unbind() for row in arch_weights.unbind()]
        for node in range(self.spec.num_inputs, self.spec.num_inputs + self.spec.num_nodes):
            incoming = self.spec.incoming(node)
            total = self._edge(sources[self.edges[incoming[0]].src], incoming[0], weights[incoming[0]])
            for index in incoming[1:]:
                total = total + self._edge(sources[self.edges[index].src], index, weights[index])
            sources.append(_Source(total))
        return torch.cat([source.x for source in sources[self.spec.num_inputs :]], dim=1)

    def _edge(self, source: _Source, index: int, weights: tuple[Tensor, ...]) -> Tensor:
        edge = self.edges[index]
        total: Tensor | None = None
        for weight, key, primitive in zip(weights, self.keys[index], self.spec.candidates[index], strict=True):
            if key is None:
                continue
            output = self._candidate(source, key)
            for transform in self.on_operation:
                output = transform.on_operation(output, edge, primitive, training=self.training)
            total = weight * output if total is None else torch.addcmul(total, output, weight)
        if total is None:
            total = torch.zeros_like(source.x[:, :, :: edge.stride, :: edge.stride])
        for number, transform in enumerate(self.transforms):
            extra = self.extras[key] if (key := f"{index}-{number}") in self.extras else None
            total = transform.on_edge(total, source.x, edge, extra, training=self.training)
        return total

    def _candidate(self, source: _Source, key: str) -> Tensor:
        operation: Operation = self.operations[key]  # type: ignore[assignment]
        if not operation.SHARED:
            return operation(source.of(operation))  # type: ignore[no-any-return]
        if key not in source.shared:
            source.shared[key] = operation(source.of(operation))
        return source.shared[key]


class DropPath:
    """Drops a whole path of an image with a probability, and scales the kept ones by 1 / (1 - p)."""

    def __init__(self) -> None:
        self.probability = 0.0
        self.generator: torch.Generator | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        shape = (x.shape[0], 1, 1, 1)
        mask = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep, generator=self.generator)
        return x * (mask / keep)


class DiscreteCell(nn.Module):
    """A cell of a genotype: each node sums its chosen edges; drop-path acts on all but identities."""

    def __init__(
        self,
        genotype: CellGenotype,
        channels_in: tuple[int, int],
        channels: int,
        *,
        stride: int,
        previous_reduced: bool,
        drop_path: DropPath,
    ) -> None:
        super().__init__()
        self.genotype = genotype
        self.drop_path = drop_path
        self.preprocess0 = preprocess(channels_in[0], channels, previous_reduced, affine=True)
        self.preprocess1 = preprocess(channels_in[1], channels, False, affine=True)
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                build_operation(primitive, channels, stride if src < 2 else 1, affine=True, normalised=False)
                for primitive, src in node
            )
            for node in genotype.nodes
        )

    @property
    def multiplier(self) -> int:
        return len(self.genotype.concat)

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        sources = [_Source(self.preprocess0(s0)), _Source(self.preprocess1(s1))]
        for choices, operations in zip(self.genotype.nodes, self.nodes, strict=True):
            outputs = []
            for (_, src), operation in zip(choices, operations.children(), strict=True):
                output = operation(sources[src].of(operation))
                if self.training and not isinstance(operation, Identity):
                    output = self.drop_path(output)
                outputs.append(output)
            sources.append(_Source(sum(outputs[1:], outputs[0])))
        return torch.cat([sources[node].x for node in self.genotype.concat], dim=1)
