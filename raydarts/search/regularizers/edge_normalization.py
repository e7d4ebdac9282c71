"""Edge normalization."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.search.objective import Objective
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space


class EdgeNormalization(Regularizer):
    """Learns one architecture parameter for each edge. Its softmax over a node's incoming edges scales the edge.

    The supernet, penalties and the selection see the scaled arch weights. So the genotype follows from the product.
    `init` is the standard deviation of the parameters' normal initialisation. They are trained with alpha: same
    optimizer, weight decay and estimator. Nothing is published for a strength between off and on. `enabled: false` is
    the neutral setting and has no parameters.
    """

    NAME = "edge_normalization"
    LANES = True
    SOURCE = "PC-DARTS (Xu et al. 2020, arXiv 1907.05737), section 3.3, eq. 3"
    NEUTRAL = {"enabled": False}
    FORMULA = "w[i,j] := exp(edge[i,j]) / sum_i' exp(edge[i',j]) * w[i,j]"
    DIFFERS = "Paper and code agree. A selection that keeps every edge (NAS-Bench-201) is not changed by the product."

    class Settings(registry.Settings):
        enabled: bool = Field(
            True, description="Whether edges have parameters. `false` is as if the remedy were absent."
        )
        init: float = Field(1e-3, ge=0, description="Standard deviation of the parameters' normal initialisation.")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._neighbours: dict[str, Tensor] = {}

    def arch_parameters(self, space: Space, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Returns `(num_edges,)` for each cell type."""
        if not self.settings.enabled:
            return {}
        device = generator.device
        return {
            name: self.settings.init
            * torch.randn(len(cell.edges), generator=generator, device=device, dtype=torch.float64)
            for name, cell in space.cells.items()
        }

    def attach(self, space: Space, objective: Objective) -> None:
        device = objective.weights[0].device
        ends = {name: torch.tensor([edge.dst for edge in cell.edges]) for name, cell in space.cells.items()}
        self._neighbours = {name: (end[:, None] == end).to(device) for name, end in ends.items()}

    def on_arch_weights(self, arch_weights: dict[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not parameters:
            return arch_weights
        return {
            name: self.shares(parameters[name], self._neighbours[name]).unsqueeze(-1) * weights
            for name, weights in arch_weights.items()
        }

    @staticmethod
    def shares(edges: Tensor, neighbours: Tensor) -> Tensor:
        """Returns the softmax of `edges` among the edges with the same end.

        Args:
            edges: `(num_edges,)`.
            neighbours: `(num_edges, num_edges)`, true where two edges end in the same node.
        """
        among = torch.where(neighbours, edges, float("-inf"))
        return (edges - among.logsumexp(-1)).exp()
