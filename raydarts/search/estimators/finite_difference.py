"""Second order by a finite difference, as in the paper."""

from __future__ import annotations

from contextlib import AbstractContextManager

from pydantic import Field
from torch import Tensor

from raydarts.search.estimators.base import (
    AlphaGradient,
    UnrolledEstimator,
    UnrolledSettings,
    look_ahead,
    weights_restored,
)
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.objective import BilevelObjective
from raydarts.search.weights import Number, Vector, WeightVector
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
    LANES = True
    KEEPS = "pass"
    SOURCE = "DARTS (arXiv 1806.09055), eq. 7 and 8; epsilon 0.01"

    class Settings(UnrolledSettings):
        epsilon: float = Field(
            0.01, gt=0, description="The weights move by epsilon / norm(dL_val/dw') in the finite difference."
        )

        def may_change(self) -> tuple[str, ...]:
            return (*super().may_change(), "epsilon")

    def unrolled(
        self, objective: BilevelObjective, weight_batch: Batch, alpha_batch: Batch, w: WeightVector, xi: Number
    ) -> AlphaGradient:
        with weights_restored(w) as saved:
            with self.training_pass(objective), constant(objective.alphas):
                loss = objective.weight_loss(weight_batch)
                weight_gradients = w.vector(gradients_of(loss.value, objective.weights))
            k = self.clipping(w, weight_gradients)
            direction = self.direction(objective, w, weight_gradients, k)
            alpha_gradients, v, alpha_loss = look_ahead(objective, w, saved, direction, alpha_batch, xi)
            eps = w.step_length(w.number([each.settings.epsilon for each in self.lanes]), v)
            if eps is None:  # v = 0: the second term is exactly 0, and eps is not defined
                return AlphaGradient(alpha_gradients, alpha_loss)
            plus = self._at(objective, weight_batch, w, saved, v, eps)
            minus = self._at(objective, weight_batch, w, saved, v, -eps)
        scales, steps = w.of_alphas(xi * k), w.of_alphas(eps)
        gradients = [
            alpha - self.second_term(p - m, scale, step)
            for alpha, p, m, scale, step in zip(alpha_gradients, plus, minus, scales, steps, strict=True)
        ]
        return AlphaGradient(gradients, alpha_loss)

    def training_pass(self, objective: BilevelObjective) -> AbstractContextManager[None]:
        """Returns the context of the passes of L_train, at w, w+ and w-."""
        return objective.virtual()

    def direction(self, objective: BilevelObjective, w: WeightVector, gradients: Vector, coefficient: Number) -> Vector:
        """Returns the direction of the virtual step."""
        return w.direction(gradients, coefficient)

    def second_term(self, difference: Tensor, scale: Number, eps: Number) -> Tensor:
        """Returns scale * (g+ - g-) / (2 eps) from the difference."""
        return scale * difference / (2 * eps)

    def _at(
        self, objective: BilevelObjective, batch: Batch, w: WeightVector, saved: Vector, v: Vector, shift: Number
    ) -> list[Tensor]:
        """Returns dL_train/dalpha at w + shift * v. It does not compute the weights' gradients."""
        w.put_sum(saved, v, shift)
        with self.training_pass(objective), constant(objective.weights):
            return gradients_of(objective.weight_loss(batch).value, objective.alphas)
