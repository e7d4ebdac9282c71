"""What a relaxation is: it turns alpha into arch weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from raydarts.registry import Member
from raydarts.search.moments import Moment


class Relaxation(Member):
    """Turns raw architecture logits into arch weights (family `relaxation`).

    - `RANDOM`: every pass draws again, from `generator`.
    - `SPARSE` (may depend on the settings): most arch weights are exactly 0. The supernet leaves their candidates out,
      and their gradient is 0.
    - `SIMPLEX`: the arch weights of an edge are a distribution over its candidates.
    """

    RANDOM: ClassVar[bool] = False
    SPARSE: bool = False
    SIMPLEX: ClassVar[bool] = True
    generator: torch.Generator | None = None

    @abstractmethod
    def __call__(self, alpha: Tensor) -> Tensor:
        """Returns arch weights `(num_edges, num_ops)` of alpha `(num_edges, num_ops)`, differentiable."""

    def expected(self, alpha: Tensor) -> Tensor:
        """Returns the arch weights for measuring, penalties and the selection. Nothing is drawn."""
        return self(alpha)

    def on_epoch_start(self, now: Moment) -> None:
        """Anneals the relaxation at the start of an epoch."""
