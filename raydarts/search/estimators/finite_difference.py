"""Second order by a finite difference, as in the paper."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from raydarts.search.estimators.base import (
    AlphaGradient,
    UnrolledEstimator,
    UnrolledSettings,
    clip_coefficient,
    constant,
    gradients_of,
    look_ahead,
    weights_restored,
)
from raydarts.search.objective import BilevelObjective
from raydarts.tasks import Batch


class FiniteDifference(UnrolledEstimator):
    """Second order by a finite difference: dL_val(w', alpha)/dalpha - xi k (g+ - g-) / (2 eps).

    g+- = dL_train(w +- eps v, alpha)/dalpha and v = dL_val/dw' at w'. v is 0 for frozen weights, because they do not
    move with alpha. eps = epsilon / norm(v), the L2 norm over all weights. k is 1 without `grad_clip`. Both passes use
    the same dropout masks. Some published second-order code multiplies by eps where it must divide by 2 eps. Here the
    limit epsilon -> 0 is `exact_hvp`.

    The error is of order epsilon^2 where the loss is smooth along v. A supernet has ReLUs and max pools. Its error may
    not shrink until epsilon is so small that none of them switches (docs/method.md).
    """

    NAME = "finite_difference"
    SOURCE = "DARTS (arXiv 1806.09055), eq. 7 and 8; epsilon 0.01"

    class Settings(UnrolledSettings):
        epsilon: float = Field(
            0.01, gt=0, description="The weights move by epsilon / norm(dL_val/dw') in the finite difference."
        )

        def may_change(self) -> tuple[str, ...]:
            return (*super().may_change(), "epsilon")

    def unrolled(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer,
        xi: float,
    ) -> AlphaGradient:
        with weights_restored(objective.weights) as saved:
            with objective.virtual(), constant(objective.alphas):
                loss = objective.weight_loss(weight_batch)
                weight_gradients = gradients_of(loss.value, objective.weights)
            k = clip_coefficient(objective, weight_gradients, self.settings.grad_clip)
            alpha_gradients, v, alpha_loss = look_ahead(objective, weight_gradients, alpha_batch, optimizer, xi, k)
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(v)))
            if not bool(norm > 0):  # v = 0: the second term is exactly 0, and eps is not defined
                return AlphaGradient(alpha_gradients, alpha_loss)
            eps = float(self.settings.epsilon / norm)
            plus = self._at(objective, weight_batch, saved, v, eps)
            minus = self._at(objective, weight_batch, saved, v, -eps)
        scale = xi * k
        gradients = [
            alpha - scale * (p - m) / (2 * eps) for alpha, p, m in zip(alpha_gradients, plus, minus, strict=True)
        ]
        return AlphaGradient(gradients, alpha_loss)

    @staticmethod
    def _at(
        objective: BilevelObjective, batch: Batch, saved: list[Tensor], v: list[Tensor], shift: float
    ) -> list[Tensor]:
        """Returns dL_train/dalpha at w + shift * v. It does not compute the weights' gradients."""
        weights = list(objective.weights)
        with torch.no_grad():
            torch._foreach_copy_(weights, saved)
            torch._foreach_add_(weights, v, alpha=shift)
        with objective.virtual(), constant(weights):
            return gradients_of(objective.weight_loss(batch).value, objective.alphas)
