"""FairDARTS' relaxation."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from raydarts.search.relaxations.base import Relaxation


class Sigmoid(Relaxation):
    """Sigmoid of each alpha. No candidate gains by another's loss.

    The arch weights of an edge are no distribution: any number of them may approach 1, or none.
    """

    NAME = "sigmoid"
    LANES = True
    SOURCE = "FairDARTS (Chu et al. 2020, arXiv 1911.12126), section 4.1"
    REMEDY = True
    SIMPLEX: ClassVar[bool] = False
    FORMULA = "arch_weight = 1 / (1 + exp(-alpha))"
    DIFFERS = (
        "FairDARTS searches seven candidates, without `none`; here a space keeps its own. Its alpha begins at 0 "
        "(search.alpha_init: 0), its search has lr .005, batch 128, arch_lr 3e-3 and arch_betas (.9, .999)."
    )

    def __call__(self, alpha: Tensor) -> Tensor:
        return alpha.sigmoid()
