"""Second order by automatic differentiation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raydarts.search.estimators.base import (
    AlphaGradient,
    UnrolledEstimator,
    clip_coefficient,
    constant,
    gradients_of,
    look_ahead,
    weights_restored,
)
from raydarts.search.objective import BilevelObjective
from raydarts.tasks import Batch


class ExactHvp(UnrolledEstimator):
    """Second order, exactly: dL_val(w', alpha)/dalpha - xi k d2L_train(w, alpha)/(dalpha dw) v, v = dL_val/dw' at w'.

    v is 0 for frozen weights, because they do not move with alpha. k is 1 without `grad_clip`. With it, k is the factor
    that clipped the virtual step, treated as constant. Autograd computes the product through the gradient's graph.
    There is no epsilon, but the graph of the training pass's gradient needs memory.
    """

    NAME = "exact_hvp"
    SOURCE = "DARTS (arXiv 1806.09055), eq. 7, without the approximation of eq. 8"

    def unrolled(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer,
        xi: float,
    ) -> AlphaGradient:
        weights = list(objective.weights)
        with objective.virtual(), constant(objective.alphas):
            loss = objective.weight_loss(weight_batch)
            first = gradients_of(loss.value, weights)
        with weights_restored(weights):
            k = clip_coefficient(objective, first, self.settings.grad_clip)
            alpha_gradients, v, alpha_loss = look_ahead(objective, first, alpha_batch, optimizer, xi, k)
        # The graph is made after the weights are back: moved in place, its saved tensors would be stale.
        with objective.virtual():
            loss = objective.weight_loss(weight_batch)
            product = self._product(objective, loss.value, v)
        scale = xi * k
        gradients = [alpha - scale * p for alpha, p in zip(alpha_gradients, product, strict=True)]
        return AlphaGradient(gradients, alpha_loss)

    @staticmethod
    def _product(objective: BilevelObjective, loss: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
        """Returns d2loss/(dalpha dw) v over the weights that move, or 0 if none moves."""
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
