"""A random genotype: what a search must beat."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.random_cells import draw_cell
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
        count = self.settings.edges_per_node or space.EDGES_PER_NODE
        return draw_cell(space, generator, lambda cell_type, node: count)

    def state_dict(self) -> State:
        return {"seed": self._seed}

    def load_state_dict(self, state: State) -> None:
        self._seed = state["seed"]
