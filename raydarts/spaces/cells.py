"""A cell's graph in its mixed form (supernet) and its discrete form (a genotype's network), and DARTS cells of both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raydarts.genotypes.genotype import CellGenotype
from raydarts.spaces.base import CellSpec
from raydarts.spaces.lanes import add_weighted, plus_weighted, weighted
from raydarts.spaces.layout import Halved, concatenate, first_channels
from raydarts.spaces.primitives import Identity, Operation, ReLUConvBN, ReLUReduce, build_operation
from raydarts.spaces.transform import Mixed, MixedEdge, MixedTransform, overrides, seen_by_candidates
from raydarts.streams import WHOLE

Keys = tuple[str | None, ...]
"""The modules of an edge's candidates, by name. None adds nothing."""


def preprocess(channels_in: int, channels: int, reduced: bool, affine: bool, lanes: int = 1) -> nn.Module:
    """Returns a module that brings an input to the cell's channels and resolution."""
    return (ReLUReduce if reduced else ReLUConvBN)(channels_in, channels, affine, lanes)


class _Source:
    """A node's output `whole`, and what several edges need of it. Each is computed once. Candidates see `x`.

    It does not use `functools.cached_property`. In Python 3.11 that takes a lock, at which torch.compile breaks the
    graph.
    """

    def __init__(self, whole: Tensor, channels: int | None = None, lanes: int = 1) -> None:
        self.whole = whole
        self.x = whole if channels is None else first_channels(whole, channels, lanes)
        self.shared: dict[str, Tensor] = {}
        self._relu: Tensor | None = None
        self._halved: Halved | None = None

    @property
    def relu(self) -> Tensor:
        if self._relu is None:
            self._relu = torch.relu(self.x)
        return self._relu

    @property
    def halved(self) -> Halved:
        if self._halved is None:
            self._halved = Halved(self.relu)
        return self._halved

    def through(self, operation: Operation, *scale: Tensor) -> Tensor:
        if operation.halves:  # all of these begin with a ReLU
            return operation(self.relu, *scale, halved=self.halved)  # type: ignore[no-any-return]
        return operation(self.relu if operation.PREACTIVATED else self.x, *scale)  # type: ignore[no-any-return]


class MixedGraph(Mixed):
    """A DAG in which every edge is the weighted sum of all its candidates (DARTS paper, eq. 1 and 2).

    `nodes(inputs, arch_weights)` with `arch_weights` `(num_edges, num_ops)` returns the intermediate nodes. Candidates
    without parameters are computed once for each source node and used by every edge that leaves it. With `normalised`,
    pools end in a batch norm. With lanes, `arch_weights` is `(lanes, num_edges, num_ops)`.
    """

    def __init__(
        self,
        spec: CellSpec,
        layer: int,
        cell_type: str,
        channels: int,
        *,
        stride: int,
        transforms: Sequence[MixedTransform],
        normalised: bool = True,
        lanes: int = 1,
    ) -> None:
        super().__init__()
        self.spec, self.lanes = spec, lanes
        self.share = seen_by_candidates(transforms, channels)
        self.edges = tuple(
            MixedEdge(layer, cell_type, index, *edge, stride if edge.src < spec.num_inputs else 1, channels, lanes)
            for index, edge in enumerate(spec.edges)
        )
        self.operations = nn.ModuleDict()
        self.keys = tuple(
            tuple(self._add(edge, primitive, normalised) for primitive in candidates)
            for edge, candidates in zip(self.edges, spec.candidates, strict=True)
        )
        # The transform that narrows the channels widens the sum first, so that the others act on all channels.
        self.transforms = transforms = tuple(sorted(transforms, key=lambda t: not overrides(t, "share")))
        self.on_operation = tuple(t for t in transforms if overrides(t, "on_operation"))
        self.extras = nn.ModuleDict()
        for edge in self.edges:
            for number, transform in enumerate(transforms):
                if (module := transform.build(edge)) is not None:
                    self.extras[f"{edge.index}-{number}"] = module

    def _add(self, edge: MixedEdge, primitive: str, normalised: bool) -> str | None:
        """Makes the module of one candidate, or returns the one that its source node shares. None for `none`."""
        if primitive == "none":
            return None
        operation = build_operation(
            primitive, self.share, edge.stride, affine=False, normalised=normalised, lanes=self.lanes
        )
        place = f"from{edge.src}" if operation.SHARED else f"edge{edge.index}"
        key = f"{place}-{primitive.replace('.', '/')}"  # torch takes no dot in a name
        if key not in self.operations:
            self.operations[key] = operation
        return key

    def nodes(self, inputs: Sequence[Tensor], arch_weights: Tensor) -> list[Tensor]:
        sources = [_Source(x, self.share, self.lanes) for x in inputs]
        weights = self._weights(arch_weights)
        keys = self._used(arch_weights) if self.skips_zeros else self.keys
        for node in range(self.spec.num_inputs, self.spec.num_inputs + self.spec.num_nodes):
            total: Tensor | None = None
            for index in self.spec.incoming(node):
                source = sources[self.edges[index].src]
                if self.transforms:
                    edge = self._transformed(source, index, weights[index], keys[index])
                    total = edge if total is None else total + edge
                else:
                    total = self._sum(total, source, index, weights[index], keys[index])
            total = self._zeros(sources[0], 0) if total is None else total
            sources.append(_Source(total, self.share, self.lanes))
        return [source.whole for source in sources[self.spec.num_inputs :]]

    def _weights(self, arch_weights: Tensor) -> list[tuple[Tensor, ...]]:
        """Returns the arch weight of each candidate of each edge: a scalar, with lanes `(channels,)`."""
        if self.lanes == 1:
            return [row.unbind() for row in arch_weights.unbind()]
        lanes, edges, candidates = arch_weights.shape
        table = arch_weights.permute(1, 2, 0).reshape(edges * candidates, lanes)
        # Dense, because batch norm on a CPU takes its weight for dense. One copy serves all candidates.
        scales = table[..., None].expand(-1, -1, self.share).reshape(edges * candidates, lanes * self.share)
        rows = scales.unbind()
        return [rows[first : first + candidates] for first in range(0, len(rows), candidates)]

    def _used(self, arch_weights: Tensor) -> tuple[Keys, ...]:
        """Returns the keys, with None where the arch weight is 0, with lanes where it is 0 in each of them."""
        used = arch_weights.detach() != 0
        rows = (used if self.lanes == 1 else used.any(0)).tolist()
        return tuple(
            tuple(key if used else None for key, used in zip(keys, row, strict=True))
            for keys, row in zip(self.keys, rows, strict=True)
        )

    def _sum(
        self, total: Tensor | None, source: _Source, index: int, weights: tuple[Tensor, ...], keys: Keys
    ) -> Tensor:
        """Adds the edge's candidates times their weights to `total`, in place. No backward pass needs the sums."""
        edge = self.edges[index]
        for weight, key, primitive in zip(weights, keys, self.spec.candidates[index], strict=True):
            if key is None:
                continue
            operation: Operation = self.operations[key]  # type: ignore[assignment]
            changing = [transform for transform in self.on_operation if transform.changes(edge, primitive)]
            if changing:
                output = self._candidate(source, key)
                for transform in changing:
                    output = transform.on_operation(output, edge, primitive, training=self.training)
                total = weighted(weight, output) if total is None else plus_weighted(total, weight, output)
            elif operation.SHARED:
                output = self._candidate(source, key)
                total = weighted(weight, output) if total is None else add_weighted(total, weight, output)
            else:
                output = source.through(operation, weight)
                total = output if total is None else total.add_(output)
        return self._zeros(source, index) if total is None else total

    def _transformed(self, source: _Source, index: int, weights: tuple[Tensor, ...], keys: Keys) -> Tensor:
        """Returns the edge's weighted sum with the remedies' changes."""
        edge = self.edges[index]
        total = self._sum(None, source, index, weights, keys)
        for number, transform in enumerate(self.transforms):
            extra = self.extras[key] if (key := f"{index}-{number}") in self.extras else None
            total = transform.on_edge(total, source.whole, edge, extra, training=self.training)
        return total

    def _zeros(self, source: _Source, index: int) -> Tensor:
        stride = self.edges[index].stride
        return torch.zeros_like(source.x[:, :, ::stride, ::stride])

    def _candidate(self, source: _Source, key: str) -> Tensor:
        operation: Operation = self.operations[key]  # type: ignore[assignment]
        if not operation.SHARED:
            return source.through(operation)
        if key not in source.shared:
            source.shared[key] = source.through(operation)
        return source.shared[key]


class MixedCell(MixedGraph):
    """The DARTS cell of a supernet: two preprocessed inputs, the graph, and the concatenation of its nodes."""

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
        lanes: int = 1,
    ) -> None:
        super().__init__(spec, layer, cell_type, channels, stride=stride, transforms=transforms, lanes=lanes)
        self.preprocess0 = preprocess(channels_in[0], channels, previous_reduced, affine=False, lanes=lanes)
        self.preprocess1 = preprocess(channels_in[1], channels, False, affine=False, lanes=lanes)

    def forward(self, s0: Tensor, s1: Tensor, arch_weights: Tensor) -> Tensor:
        return concatenate(self.nodes((self.preprocess0(s0), self.preprocess1(s1)), arch_weights), self.lanes)


class DropPath:
    """Drops a whole path of an image with a probability and scales the kept ones by 1 / (1 - p).

    A mask is drawn when a path is reached, or all are `drawn` before the pass (see `ahead.Ahead`). A network has
    `paths` of them, numbered in the order in which a pass reaches them.
    """

    def __init__(self) -> None:
        self.probability = 0.0
        self.generator: torch.Generator | None = None
        self.share = WHOLE
        self.paths = 0
        self.drawn: Tensor | None = None  # (paths, rows, 1, 1, 1), scaled

    def new_path(self) -> int:
        self.paths += 1
        return self.paths - 1

    def mask(self, rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Returns the next scaled mask, `(rows, 1, 1, 1)`, for this process's rows."""
        keep = 1.0 - self.probability
        mask = torch.empty((self.share.whole(rows), 1, 1, 1), dtype=dtype, device=device)
        return self.share.of(mask.bernoulli_(keep, generator=self.generator)) / keep

    def __call__(self, x: Tensor, path: int) -> Tensor:
        # A compiled pass reads only `drawn` here. A changing probability would compile it again.
        if self.drawn is not None:
            return x * self.drawn[path].to(x.dtype)
        if self.probability == 0.0:
            return x
        return x * self.mask(x.shape[0], x.dtype, x.device)


class DiscreteGraph(nn.Module):
    """The DAG of a genotype's cell. Each node sums its chosen edges. Drop-path acts on all edges but identities.

    A node without edges is zeros.
    """

    def __init__(
        self, genotype: CellGenotype, num_inputs: int, channels: int, *, stride: int, drop_path: DropPath
    ) -> None:
        super().__init__()
        self.genotype = genotype
        self.stride = stride
        self.drop_path = drop_path
        self.operations = nn.ModuleList(
            nn.ModuleList(
                build_operation(primitive, channels, stride if src < num_inputs else 1, affine=True, normalised=False)
                for primitive, src in node
            )
            for node in genotype.nodes
        )
        self.paths = tuple(
            tuple(None if isinstance(operation, Identity) else drop_path.new_path() for operation in node.children())
            for node in self.operations
        )

    @property
    def multiplier(self) -> int:
        return len(self.genotype.concat)

    def nodes(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Returns inputs and intermediate nodes, in order."""
        sources = [_Source(x) for x in inputs]
        for choices, operations, paths in zip(self.genotype.nodes, self.operations, self.paths, strict=True):
            outputs = []
            for (_, src), operation, path in zip(choices, operations.children(), paths, strict=True):
                output = sources[src].through(operation)  # type: ignore[arg-type]
                if self.training and path is not None:
                    output = self.drop_path(output, path)
                outputs.append(output)
            if outputs:
                sources.append(_Source(sum(outputs[1:], outputs[0])))
            else:
                sources.append(_Source(torch.zeros_like(inputs[0][:, :, :: self.stride, :: self.stride])))
        return [source.whole for source in sources]


class DiscreteCell(DiscreteGraph):
    """The DARTS cell of a genotype's network: two preprocessed inputs, and the nodes that its output concatenates."""

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
        super().__init__(genotype, len(channels_in), channels, stride=stride, drop_path=drop_path)
        self.preprocess0 = preprocess(channels_in[0], channels, previous_reduced, affine=True)
        self.preprocess1 = preprocess(channels_in[1], channels, False, affine=True)

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        nodes = self.nodes((self.preprocess0(s0), self.preprocess1(s1)))
        return concatenate([nodes[node] for node in self.genotype.concat])
