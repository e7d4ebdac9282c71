"""Second order by automatic differentiation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raydarts.search.estimators.base import (
    AlphaGradient,
    UnrolledEstimator,
    look_ahead,
    weights_restored,
)
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.objective import BilevelObjective
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
    SOURCE = "DARTS (arXiv 1806.09055), eq. 7, without the approximation of eq. 8"

    def unrolled(
        self, objective: BilevelObjective, weight_batch: Batch, alpha_batch: Batch, w: WeightVector, xi: Number
    ) -> AlphaGradient:
        with objective.virtual(), constant(objective.alphas):
            loss = objective.weight_loss(weight_batch)
            first = w.vector(gradients_of(loss.value, objective.weights))
        with weights_restored(w) as saved:
            k = self.clipping(w, first)
            alpha_gradients, v, alpha_loss = look_ahead(objective, w, saved, first, alpha_batch, xi, k)
        # The graph is made after the weights are restored. Moving them in place would make its tensors stale.
        with objective.virtual():
            loss = objective.weight_loss(weight_batch)
            product = self._product(objective, loss.value, w.parts(v))
        gradients = [
            alpha - scale * p for alpha, p, scale in zip(alpha_gradients, product, w.of_alphas(xi * k), strict=True)
        ]
        return AlphaGradient(gradients, alpha_loss)

    @staticmethod
    def _product(objective: BilevelObjective, loss: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
        """Returns d2loss/(dalpha dw) v over the weights that move, or 0 if none moves."""
        loss = loss.sum() if loss.dim() else loss
        frozen = objective.frozen
        moving = [
            (weight, direction)
            for position, (weight, direction) in enumerate(zip(objective.weights, v, strict=True))
            if position not in frozen
        ]
        weights = [weight for weight, _ in moving]
        graph = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True) if weights else ()
        # A weight that a sparse relaxation left out has a gradient that depends on nothing.
        pairs = [
            (gradient, direction)
            for gradient, (_, direction) in zip(graph, moving, strict=True)
            if gradient.requires_grad
        ]
        if not pairs:
            return [torch.zeros_like(alpha) for alpha in objective.alphas]
        outputs, directions = zip(*pairs, strict=True)
        return list(torch.autograd.grad(outputs, objective.alphas, directions, materialize_grads=True))
