"""First order."""

from __future__ import annotations

import torch

from raydarts.search.estimators.base import AlphaGradient, Estimator, first_order_gradient
from raydarts.search.objective import BilevelObjective
from raydarts.search.weights import LaneWeights
from raydarts.tasks import Batch


class FirstOrder(Estimator):
    """First order: dL_val(w, alpha)/dalpha at the current weights. This is the paper's xi = 0."""

    NAME = "first_order"
    SOURCE = "DARTS (arXiv 1806.09055), section 2.3, first-order approximation"

    LANES = True
    KEEPS = "pass"

    def __call__(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer | LaneWeights,
    ) -> AlphaGradient:
        with objective.mixing():
            return first_order_gradient(objective, alpha_batch)
