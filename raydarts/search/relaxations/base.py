"""What a relaxation is: alpha to arch weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from raydarts.registry import Member
from raydarts.search.moments import Moment


class Relaxation(Member):
    """Turns raw architecture logits into arch weights (family `relaxation`).

    `RANDOM`: draws anew in every pass, from `generator`. `SPARSE` (may hang on the settings): most arch weights
    are exactly 0, and the supernet leaves their candidates out (their gradient is 0 then). `SIMPLEX`: the arch
    weights of an edge are a distribution over its candidates.
    """

    RANDOM: ClassVar[bool] = False
    SPARSE: bool = False
    SIMPLEX: ClassVar[bool] = True
    generator: torch.Generator | None = None

    @abstractmethod
    def __call__(self, alpha: Tensor) -> Tensor:
        """`(num_edges, num_ops)` to `(num_edges, num_ops)`, differentiable."""

    def expected(self, alpha: Tensor) -> Tensor:
        """What measuring, penalties and the selection look at: nothing is drawn."""
        return self(alpha)

    def on_epoch_start(self, now: Moment) -> None:
        """Annealing."""
