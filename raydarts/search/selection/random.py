"""A random genotype: what a search must beat."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.selection.base import Selection, require_edges
from raydarts.spaces import Genotype, Space
from raydarts.states import State
from raydarts.streams import Streams
from raydarts.units import Edges


class Random(Selection):
    """Each node keeps `edges_per_node` random incoming edges, each with a random candidate.

    null is the space's rule: two edges, one in darts-rnn, all in nasbench201, where no other number may be set. `none`
    is never drawn, except in nasbench201, where any candidate may be drawn on each edge. A search seed gives one
    genotype, whatever alpha is and whenever it is asked. It is the baseline for a search's result. `epochs: 1` makes
    such a trial cheap.
    """

    NAME = "random"
    SOURCE = "Li, Talwalkar 2019 (arXiv 1902.07638): random architectures as the baseline"

    class Settings(registry.Settings):
        edges_per_node: Edges | None = Field(
            None, ge=1, description="Incoming edges that each node keeps. `null` is the space's rule."
        )

    _seed = 0

    def check(self, space: Space) -> None:
        require_edges(space, self.settings.edges_per_node)

    def bind(self, streams: Streams) -> None:
        generator = streams["random_selection"]
        self._seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))

    def __call__(self, space: Space, arch_weights: Mapping[str, Tensor]) -> Genotype:
        generator = torch.Generator().manual_seed(self._seed)
        picks: dict[str, list[tuple[int, str]]] = {}
        for name, spec in space.cells.items():
            kept: list[int] = []
            for node in range(spec.num_inputs, spec.num_inputs + spec.num_nodes):
                edges = spec.incoming(node)
                order = torch.randperm(len(edges), generator=generator).tolist()
                count = len(edges) if space.KEEPS_ALL_EDGES else self.settings.edges_per_node or space.EDGES_PER_NODE
                kept += sorted(edges[place] for place in order[:count])
            picks[name] = []
            for edge in kept:
                allowed = [
                    primitive for primitive in spec.candidates[edge] if primitive != space.ZERO or space.KEEPS_ALL_EDGES
                ]
                picks[name].append((edge, allowed[int(torch.randint(len(allowed), (), generator=generator))]))
        return space.genotype(picks)

    def state_dict(self) -> State:
        return {"seed": self._seed}

    def load_state_dict(self, state: State) -> None:
        self._seed = state["seed"]
