"""The paper's relaxation."""

from __future__ import annotations

from torch import Tensor

from raydarts.search.relaxations.base import Relaxation


class Softmax(Relaxation):
    """Softmax over the candidates of each edge: exp(alpha_o) / sum over o' of exp(alpha_o')."""

    NAME = "softmax"
    LANES = True
    SOURCE = "DARTS (arXiv 1806.09055), eq. 2"

    def __call__(self, alpha: Tensor) -> Tensor:
        return alpha.softmax(-1)
