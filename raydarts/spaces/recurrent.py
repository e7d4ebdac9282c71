"""Language models of one recurrent DARTS cell: the mixed cell (supernet), the discrete cell, and the model around them.

A cell (DARTS paper, section 2.1 and appendix A.1.2; authors' code rnn/model.py, rnn/model_search.py) with U units:

    c_0, h_0 = split([x_t * m_x, h_{t-1} * m_h] W_0)        s_0 = h_{t-1} + sigmoid(c_0) * (tanh(h_0) - h_{t-1})
    c, h     = split((s_j * m_h) W_i)                       s_i = s_j + sigmoid(c) * (f(h) - s_j)

for node i with predecessor j and activation f. h_t is the mean of the nodes. m_x and m_h are dropout masks. They stay
the same for all time steps of a batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raydarts import outside
from raydarts.errors import GenotypeError, InputError
from raydarts.genotypes.genotype import CellGenotype
from raydarts.spaces.base import CellSpec
from raydarts.spaces.drawn import Mask, draw_from, masked
from raydarts.spaces.lanes import count_lanes, of_lanes, views, weighted
from raydarts.spaces.regularization import RecurrentNetworkSettings, Regularization
from raydarts.spaces.transform import Mixed, MixedEdge, MixedTransform, overrides
from raydarts.tasks import mean_over_steps

CELL_TYPE = "recurrent"
INITIAL_RANGE = 0.04
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda h: h,
}
"""The function of each candidate. `none` gives zeros."""


@cache
def activation(primitive: str) -> Callable[[Tensor], Tensor]:
    """Returns a primitive's function. One of the user's own, `module:Name`, is a function, or a class built without
    arguments.

    Raises `InputError` if there is none.
    """
    if primitive in ACTIVATIONS:
        return ACTIVATIONS[primitive]
    if not outside.is_outside(primitive):
        raise InputError(f"{primitive} is no activation (allowed: {', '.join(ACTIVATIONS)}, or module:Name)")
    loaded: object = outside.load(primitive)
    made: object = loaded() if inspect.isclass(loaded) else loaded
    if not callable(made) or any(True for _ in getattr(made, "parameters", tuple)()):
        raise InputError(f"activation {primitive} must be a function without weights")
    function: Callable[[Tensor], Tensor] = made
    return function


class Decoded(NamedTuple):
    """`logits` `(T, B, vocabulary)`, and `memory` `(B, U)`: the last hidden state without a graph.

    `penalty` is added to the training loss. It is None in evaluation mode. With lanes each has a first dimension of
    lanes. If the lanes have different lengths, logits after a lane's last time step mean nothing.
    """

    logits: Tensor
    memory: Tensor
    penalty: Tensor | None


def _uniform(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-INITIAL_RANGE, INITIAL_RANGE))


def over_time(mask: Tensor | None) -> Tensor | None:
    """Returns a mask `(B, U)` for tensors `(T, B, U)`: every time step has the same mask."""
    return None if mask is None else mask.unsqueeze(-3)


def rows_of_lanes(weight: Tensor, lanes: int) -> Tensor:
    """Returns a weight with its lanes in a first dimension, if there are several."""
    return weight if lanes == 1 else of_lanes(weight, lanes, 0)


def times(x: Tensor, weight: Tensor) -> Tensor:
    """Returns `x @ weight` of `(n, B, U)`. With lanes both have a first dimension of lanes."""
    if weight.dim() == 2:
        return x @ weight
    return (x.flatten(1, 2) @ weight).view(*x.shape[:3], -1)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gate, and the input of its activation."""
    c, h = x.chunk(2, -1)
    return c.sigmoid(), h


class _Model(nn.Module):
    """Token vectors, a cell unrolled in time, and a decoder that shares the vectors (weight tying).

    All weights are drawn from U(-0.04, 0.04). The decoder's bias is 0. With lanes every tensor has a first dimension of
    lanes in a pass. A weight has the rows of all lanes, lane after lane.
    """

    TIED = ("embedding",)

    def __init__(self, vocabulary: int, units: int, nodes: int, settings: Regularization, lanes: int = 1) -> None:
        super().__init__()
        self.settings, self.units, self.lanes = settings, units, lanes
        self.embedding = _uniform(lanes * vocabulary, units)
        self.bias = nn.Parameter(torch.zeros(lanes * vocabulary))
        self.entry = _uniform(lanes * 2 * units, 2 * units)
        self.nodes = nn.ParameterList(_uniform(lanes * units, 2 * units) for _ in range(nodes))
        self.token_mask = Mask(settings.embedding_dropout, lanes)
        self.vector_mask = Mask(settings.input_dropout, lanes)
        self.cell_mask = Mask(settings.cell_dropout, lanes)
        self.hidden_mask = Mask(settings.hidden_dropout, lanes)
        self.output_mask = Mask(settings.output_dropout, lanes)

    def draw_from(self, generators: torch.Generator | Sequence[torch.Generator]) -> None:
        """Makes all masks come from this generator, with lanes from one for each."""
        draw_from(self, generators)

    def decoded(
        self,
        inputs: Tensor,
        memory: Tensor | None,
        steps: Iterable[Callable[[Tensor, Tensor | None], Tensor]],
        lengths: tuple[int, ...] | None = None,
    ) -> Decoded:
        """Runs the cell over time.

        `steps` gives, for each time step, the function from s_0 and the hidden mask to h_t. `lengths`: see
        `tasks.Batch`.
        """
        columns, units = inputs.shape[-1], self.units
        vectors = self._vectors(inputs)
        vectors = masked(vectors, over_time(self.vector_mask(vectors, columns, units)))
        entry = rows_of_lanes(self.entry, self.lanes)
        entering = times(masked(vectors, over_time(self.cell_mask(vectors, columns, units))), entry[..., :units, :])
        mask = self.hidden_mask(vectors, columns, units)
        h = torch.zeros_like(vectors[..., 0, :, :]) if memory is None else memory
        outputs = []
        for x, step in zip(entering.unbind(-3), steps, strict=True):
            gate, candidate = _halves(x + masked(h, mask) @ entry[..., units:, :])
            h = step(h + gate * (candidate.tanh() - h), mask)
            outputs.append(h)
        raw = torch.stack(outputs, -3)
        dropped = masked(raw, over_time(self.output_mask(raw, columns, units)))
        penalty = self._penalty(raw, dropped, lengths) if self.training else None
        last = h if lengths is None else torch.stack([raw[lane, length - 1] for lane, length in enumerate(lengths)])
        return Decoded(self._logits(dropped), last.detach(), penalty)

    def _vectors(self, inputs: Tensor) -> Tensor:
        """Returns the tokens' vectors `(T, B, U)`, some of them zero."""
        vocabulary = len(self.embedding) // self.lanes
        mask = self.token_mask(self.embedding, vocabulary, 1)
        if self.lanes == 1:
            return nn.functional.embedding(inputs, masked(self.embedding, mask))
        first = torch.arange(0, len(self.embedding), vocabulary, device=inputs.device)
        table = masked(self.embedding, None if mask is None else mask.flatten(0, 1))
        return nn.functional.embedding(inputs + first[:, None, None], table)

    def _logits(self, outputs: Tensor) -> Tensor:
        if self.lanes == 1:
            return nn.functional.linear(outputs, self.embedding, self.bias)
        table = rows_of_lanes(self.embedding, self.lanes)
        logits = torch.baddbmm(self.bias.view(self.lanes, 1, -1), outputs.flatten(1, 2), table.transpose(1, 2))
        return logits.view(*outputs.shape[:3], -1)

    def _penalty(self, raw: Tensor, dropped: Tensor, lengths: tuple[int, ...] | None) -> Tensor:
        penalty = self.settings.activation_regularization * self._mean(dropped.square(), lengths)
        if raw.shape[-3] > 1:  # a single step has no difference
            difference = raw[..., 1:, :, :] - raw[..., :-1, :, :]
            fewer = None if lengths is None else tuple(length - 1 for length in lengths)
            penalty = penalty + self.settings.slowness * self._mean(difference.square(), fewer)
        return penalty

    def _mean(self, x: Tensor, lengths: tuple[int, ...] | None) -> Tensor:
        if lengths is not None:
            return mean_over_steps(x, torch.tensor(lengths, device=x.device))
        return x.mean() if self.lanes == 1 else x.flatten(1).mean(1)


class RecurrentNetwork(_Model):
    """A genotype's network: `forward(tokens (T, B), memory)` returns `Decoded`. Every node has one predecessor."""

    def __init__(self, genotype: CellGenotype, vocabulary: int, settings: RecurrentNetworkSettings) -> None:
        for number, node in enumerate(genotype.nodes, 1):
            if len(node) != 1:
                raise GenotypeError(f"recurrent, node {number} has {len(node)} predecessors, and must have one")
            try:
                activation(node[0][0])
            except InputError as error:
                raise GenotypeError(f"recurrent, node {number}: {error}") from error
        super().__init__(vocabulary, settings.units, len(genotype.nodes), settings)
        self.genotype = genotype

    def forward(self, inputs: Tensor, memory: Tensor | None = None) -> Decoded:
        return self.decoded(inputs, memory, (self._step,) * len(inputs))

    def _step(self, s0: Tensor, mask: Tensor | None) -> Tensor:
        states = [s0]
        for ((primitive, src),), weight in zip(self.genotype.nodes, self.nodes, strict=True):
            gate, h = _halves(masked(states[src], mask) @ weight)
            states.append(states[src] + gate * (activation(primitive)(h) - states[src]))
        return torch.stack([states[node] for node in self.genotype.concat]).mean(0)


class MixedRecurrent(Mixed):
    """The cell with every candidate on every edge: a node sums over its predecessors j and the candidates o

        s_i = BN(sum_j sum_o w_jo (s_j + sigmoid(c_j) * (f_o(h_j) - s_j))),    c_j, h_j = split((s_j * m_h) W_i)

    `none` left out. W_i is the node's alone, the same for all predecessors; one batch norm, without scale and shift,
    for s_0 and all nodes (authors' code, rnn/model_search.py).
    """  # fmt: skip

    def __init__(self, spec: CellSpec, units: int, transforms: Sequence[MixedTransform], lanes: int = 1) -> None:
        super().__init__()
        self.columns: Tensor  # where each candidate's arch weight lies in a table
        if any(overrides(transform, "share") for transform in transforms):
            raise InputError("a remedy that gives the candidates a part of the channels does not fit a recurrent cell")
        self.spec, self.lanes = spec, lanes
        for name in self.primitives:
            activation(name)  # raises for an unknown name before anything is trained
            if lanes > 1 and outside.is_outside(name):
                raise InputError(f"activation {name} has no lanes: searches of its space cannot be fused")
        self.edges = tuple(
            MixedEdge(0, CELL_TYPE, index, *edge, 1, units, lanes) for index, edge in enumerate(spec.edges)
        )
        columns = [
            [self.primitives.index(name) if name in self.primitives else len(self.primitives) for name in row]
            for row in spec.candidates
        ]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.norm = nn.BatchNorm1d(lanes * units, affine=False)
        count_lanes(self.norm, lanes)
        self.transforms = tuple(transforms)
        self.extras = nn.ModuleDict()
        for edge in self.edges:
            for number, transform in enumerate(self.transforms):
                if (module := transform.build(edge)) is not None:
                    self.extras[f"{edge.index}-{number}"] = module

    @cached_property
    def primitives(self) -> tuple[str, ...]:
        """Returns all candidates of all edges but `none`."""
        names = {primitive for row in self.spec.candidates for primitive in row}
        return (*(name for name in ACTIVATIONS if name in names), *sorted(names - {*ACTIVATIONS, "none"}))

    def tables(self, arch_weights: Tensor) -> list[Tensor]:
        """Turns `(..., num_edges, num_ops)` into a table `(..., predecessors, primitives)` for each node. 0 means no
        candidate.
        """
        if self.skips_zeros:  # a candidate that is left out has no gradient
            arch_weights = arch_weights * (arch_weights.detach() != 0)
        place = self.columns.expand(arch_weights.shape)
        whole = arch_weights.new_zeros(*arch_weights.shape[:-1], len(self.primitives) + 1)
        whole = whole.scatter(-1, place, arch_weights)[..., :-1]
        nodes = range(self.spec.num_inputs, self.spec.num_inputs + self.spec.num_nodes)
        return list(torch.split(whole, [len(self.spec.incoming(node)) for node in nodes], -2))  # edges by destination

    def forward(self, s0: Tensor, mask: Tensor | None, tables: Sequence[Tensor], weights: Iterable[Tensor]) -> Tensor:
        """Returns h_t `(B, U)`. `tables` and `weights` W_i are for each node. The states are `(nodes, B, U)`."""
        states = self._normed(s0).unsqueeze(-3)
        mask = over_time(mask)
        for table, weight in zip(tables, weights, strict=True):
            gate, h = _halves(times(masked(states, mask), rows_of_lanes(weight, self.lanes)))
            mix = self._transformed if self.transforms else self._sum
            states = torch.cat([states, self._normed(mix(states, gate, h, table)).unsqueeze(-3)], -3)
        return states[..., 1:, :, :].mean(-3)

    def _normed(self, x: Tensor) -> Tensor:
        return self._apart(self.norm(self._packed(x)))

    def _packed(self, x: Tensor) -> Tensor:
        """Returns `(lanes, B, U)` as `(B, lanes * U)`, the layout of batch norms and remedies. One lane has it."""
        return x if self.lanes == 1 else x.transpose(0, 1).flatten(1)

    def _apart(self, x: Tensor) -> Tensor:
        return x if self.lanes == 1 else of_lanes(x, self.lanes).transpose(0, 1)

    def _sum(self, states: Tensor, gate: Tensor, h: Tensor, table: Tensor) -> Tensor:
        """Returns sum_jo w_jo (s_j + c_j (f_o(h_j) - s_j)). Each activation is applied to all edges at once."""
        columns = table[..., None, None].unbind(-3)
        kept = table.sum(-1)[..., None, None] * states
        mixed = sum(
            (column * activation(name)(h) for name, column in zip(self.primitives, columns, strict=True)),
            torch.zeros_like(h),
        )
        return (kept + gate * (mixed - kept)).sum(-3)

    def _transformed(self, states: Tensor, gate: Tensor, h: Tensor, table: Tensor) -> Tensor:
        """Returns the same sum, computed edge by edge, with the remedies' changes."""
        total = torch.zeros_like(self._packed(states[..., 0, :, :]))
        for index in self.spec.incoming(states.shape[-3]):
            edge = self.edges[index]
            state = states[..., edge.src, :, :]
            source = self._packed(state)
            output = torch.zeros_like(source)
            for name, weight in zip(self.primitives, table[..., edge.src, :].unbind(-1), strict=True):
                if name not in self.spec.candidates[index]:
                    continue
                inner = activation(name)(h[..., edge.src, :, :])
                candidate = self._packed(state + gate[..., edge.src, :, :] * (inner - state))
                for transform in self.transforms:
                    if transform.changes(edge, name):
                        candidate = transform.on_operation(candidate, edge, name, training=self.training)
                output = output + weighted(weight, candidate)
            for number, transform in enumerate(self.transforms):
                extra = self.extras[key] if (key := f"{index}-{number}") in self.extras else None
                output = transform.on_edge(output, source, edge, extra, training=self.training)
            total = total + output
        return self._apart(total)


class RecurrentSupernet(_Model):
    """All candidates at once: `forward(tokens (T, B), arch_weights, memory)` returns `Decoded`.

    Arch weights are `(num_edges, num_ops)` or `(T, num_edges, num_ops)`. The time steps are the layers. With `lanes`
    above 1, tokens, memory and arch weights have a first dimension of lanes, and so has what it returns. Lanes may have
    different `lengths`. After its last time step a lane learns nothing, counts no statistics and draws nothing.
    """

    def __init__(
        self,
        spec: CellSpec,
        vocabulary: int,
        units: int,
        settings: Regularization,
        transforms: Sequence[MixedTransform],
        lanes: int = 1,
    ) -> None:
        super().__init__(vocabulary, units, spec.num_nodes, settings, lanes)
        self.cell = MixedRecurrent(spec, units, transforms, lanes)

    def layers(self, inputs: Tensor | None = None) -> Mapping[str, int]:
        return {} if inputs is None else {CELL_TYPE: inputs.shape[-2]}

    def forward(
        self,
        inputs: Tensor,
        arch_weights: Mapping[str, Tensor],
        memory: Tensor | None = None,
        lengths: tuple[int, ...] | None = None,
    ) -> Decoded:
        tables = self.cell.tables(arch_weights[CELL_TYPE])
        shared = tables[0].dim() == inputs.dim()
        of_steps: Iterable[Sequence[Tensor]] = (
            (tables,) * inputs.shape[-2] if shared else zip(*(table.unbind(-3) for table in tables), strict=True)
        )
        return self.decoded(inputs, memory, self._steps(of_steps, lengths or ()), lengths)

    def _steps(
        self, of_steps: Iterable[Sequence[Tensor]], lengths: Sequence[int]
    ) -> Iterator[Callable[[Tensor, Tensor | None], Tensor]]:
        with ExitStack() as ended:
            for step, tables in enumerate(of_steps):
                for lane, length in enumerate(lengths):
                    if step == length:
                        ended.enter_context(self._unchanged(lane))
                yield self._step(tables)

    @contextmanager
    def _unchanged(self, lane: int) -> Iterator[None]:
        """Restores on exit what passes change in a lane: statistics of batch norms, and the generator it draws from."""
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
        # Through `data`, since autograd keeps the statistics of a training pass and does not read them. It would refuse
        # to go back through a pass whose statistics have changed.
        statistics = [
            value
            for norm in norms
            for value in views({name: buffer.data for name, buffer in norm.named_buffers()}, self.lanes, lane).values()
        ]
        kept = [value.clone() for value in statistics]
        generator = self.cell_mask.generators[lane] or torch.default_generator  # of all masks, and of remedies
        state = generator.get_state()
        yield
        for value, before in zip(statistics, kept, strict=True):
            value.copy_(before)
        generator.set_state(state)

    def _step(self, tables: Sequence[Tensor]) -> Callable[[Tensor, Tensor | None], Tensor]:
        return lambda s0, mask: self.cell(s0, mask, tables, self.nodes)
