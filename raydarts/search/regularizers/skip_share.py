"""A penalty on skip connections."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.errors import InputError
from raydarts.search.objective import Objective
from raydarts.search.ramps import Ramp
from raydarts.search.regularizers.base import Alphas
from raydarts.search.regularizers.ramped import RampedPenalty
from raydarts.spaces import Space


def _positions(space: Space) -> dict[str, list[tuple[int, int]]]:
    """Returns the (edge, candidate) positions of skip connections for each cell type."""
    return {
        name: [(edge, row.index(space.SKIP)) for edge, row in enumerate(cell.candidates) if space.SKIP in row]
        for name, cell in space.cells.items()
    }


class SkipShare(RampedPenalty):
    """Adds strength * mean arch weight of the skip connections to the loss that alpha descends.

    The mean covers all edges of all cell types that have a skip connection among their candidates. If a stage of the
    search has none left, nothing is added.
    """

    NAME = "skip_share"
    LANES = True
    SOURCE = "No paper: the plainest price on what RobustDARTS (arXiv 1909.09656) and DARTS+ (arXiv 1909.06035) count"
    FORMULA = "L_val + strength * ramp(epoch) * mean over edges of the skip connection's arch weight"
    DIFFERS = (
        "It is the yardstick for published remedies, which limit the count of skip connections (P-DARTS, DARTS+) or "
        "take their advantage away (DARTS-, FairDARTS). The default strength is ours."
    )

    class Settings(registry.Settings):
        strength: float = Field(1.0, ge=0, description="Factor on the penalty.")
        ramp: Ramp = Field("constant", description="How the strength changes over the epochs.")

        def may_change(self) -> tuple[str, ...]:
            return ("strength", "ramp")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._skips: Mapping[str, list[tuple[int, int]]] = {}

    def check(self, space: Space, epochs: int) -> None:
        if not any(_positions(space).values()):
            raise InputError(f"space {space.registered} has no {space.SKIP} on any edge: leave {self.registered} out")

    def attach(self, space: Space, objective: Objective) -> None:
        self._skips = {name: positions for name, positions in _positions(space).items() if positions}

    def term(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        if not self._skips:
            return None
        shares = []
        for name, positions in self._skips.items():
            edges, candidates = map(list, zip(*positions, strict=True))
            shares.append(arch_weights[name][..., edges, candidates].flatten())
        return torch.cat(shares).mean()
