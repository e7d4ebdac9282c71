"""Second order by automatic differentiation."""

from __future__ import annotations

import torch

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
    """dL_val(w', alpha)/dalpha - xi k d2L_train(w, alpha)/(dalpha dw) v, with v = dL_val/dw' at w'.

    k is 1 but for `grad_clip`, and then the factor by which the virtual step was clipped, taken as constant.

    The product is taken by autograd through the gradient's graph: no epsilon, but the graph of
    the training pass's gradient is kept, which costs memory.
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
            graph = torch.autograd.grad(loss.value, weights, create_graph=True, materialize_grads=True)
            # A weight that a sparse relaxation left out has a gradient that depends on nothing.
            pairs = [
                (gradient, direction) for gradient, direction in zip(graph, v, strict=True) if gradient.requires_grad
            ]
            outputs, directions = zip(*pairs, strict=True)
            product = torch.autograd.grad(outputs, objective.alphas, directions, materialize_grads=True)
        scale = xi * k
        gradients = [alpha - scale * p for alpha, p in zip(alpha_gradients, product, strict=True)]
        return AlphaGradient(gradients, alpha_loss)
