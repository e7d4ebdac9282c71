"""Second order by automatic differentiation."""

from __future__ import annotations

from raydarts.search.estimators.base import (
    AlphaGradient,
    UnrolledEstimator,
    look_ahead,
    weights_restored,
)
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.objective import BilevelObjective
from raydarts.search.products import GradientGraph
from raydarts.search.weights import Number, WeightVector
from raydarts.tasks import Batch


class ExactHvp(UnrolledEstimator):
    """Second order, exactly: dL_val(w', alpha)/dalpha - xi k d2L_train(w, alpha)/(dalpha dw) v, v = dL_val/dw' at w'.

    v is 0 for frozen weights, because they do not move with alpha. k is 1 without `grad_clip`. With it, k is the factor
    that clipped the virtual step, treated as constant. Autograd computes the product through the gradient's graph.
    There is no epsilon, but the graph of the training pass's gradient needs memory.
    """

    NAME = "exact_hvp"
    LANES = True
    KEEPS = "gradient"
    SOURCE = "DARTS (arXiv 1806.09055), eq. 7, without the approximation of eq. 8"

    def unrolled(
        self, objective: BilevelObjective, weight_batch: Batch, alpha_batch: Batch, w: WeightVector, xi: Number
    ) -> AlphaGradient:
        with objective.virtual(), constant(objective.alphas):
            loss = objective.weight_loss(weight_batch)
            first = w.vector(gradients_of(loss.value, objective.weights))
        with weights_restored(w) as saved:
            k = self.clipping(w, first)
            alpha_gradients, v, alpha_loss = look_ahead(objective, w, saved, w.direction(first, k), alpha_batch, xi)
        # The graph is made after the weights are restored. Moving them in place would make its tensors stale.
        with objective.virtual():
            product = GradientGraph(objective, weight_batch).by_alphas(w.parts(v))
        gradients = [
            alpha - scale * p for alpha, p, scale in zip(alpha_gradients, product, w.of_alphas(xi * k), strict=True)
        ]
        return AlphaGradient(gradients, alpha_loss)
