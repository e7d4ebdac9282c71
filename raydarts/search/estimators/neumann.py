"""The implicit gradient, with the inverse Hessian by a Neumann series."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from raydarts import registry
from raydarts.search.estimators.base import AlphaGradient, Estimator, resolved
from raydarts.search.gradients import gradients_of
from raydarts.search.objective import BilevelObjective
from raydarts.search.products import GradientGraph
from raydarts.search.weights import LaneWeights, weights_of
from raydarts.tasks import Batch
from raydarts.units import Unit


class NeumannSettings(registry.Settings):
    """Settings of the series."""

    terms: Annotated[int, Unit("products")] = Field(
        3, ge=0, description="Products with the Hessian. Each costs about as much as three gradients of L_train."
    )
    eta: Literal["lr"] | Annotated[float, Field(gt=0)] = Field(
        "lr",
        union_mode="left_to_right",
        description="Factor of the series. Above 2 / (largest eigenvalue of H) the series grows. `lr` is the weights' "
        "current learning rate.",
    )

    def may_change(self) -> tuple[str, ...]:
        return ("terms", "eta")


class Neumann(Estimator):
    """The implicit gradient: dL_val/dalpha - d2L_train/(dalpha dw) eta [sum over j <= K of (I - eta H)^j] dL_val/dw.

    K is `terms`. Everything is taken at w: there is no virtual step. H = d2L_train/dw2 + weight_decay * I, because
    weight decay is the gradient of a part of L_train. Momentum has no part in it.

    If w minimises L_train and the series converges, eta times the sum tends to the inverse of H, and the estimate tends
    to the derivative of L_val(w*(alpha), alpha). A search is rarely at a minimum. There the estimate is that of K + 1
    steps of gradient descent with rate eta, if L_train were quadratic and dL_val/dw did not change on the way. With
    K = 0 it is the formula of `exact_hvp` with xi = eta, with dL_val taken at w where `exact_hvp` takes it at w'.

    Frozen weights have no part in it. The cost: a pass of L_val, a gradient of L_train with its graph, and K + 1
    products with that graph. The memory is that of `exact_hvp`.
    """

    NAME = "neumann"
    LANES = True
    KEEPS = "products"
    SOURCE = "Lorraine, Vicol, Duvenaud 2019 (arXiv 1911.02590), algorithm 3; the number of terms is ours"

    class Settings(NeumannSettings):
        pass

    def __call__(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer | LaneWeights,
    ) -> AlphaGradient:
        w = weights_of(objective, optimizer)
        settings: list[NeumannSettings] = [each.settings for each in self.lanes]
        eta = w.number(resolved([each.eta for each in settings], w.rates))
        decay = w.number(w.decays)
        with objective.virtual():
            loss = objective.alpha_loss(alpha_batch)
            both = gradients_of(loss.value, [*objective.alphas, *objective.weights])
        direct, v = both[: len(objective.alphas)], w.moving(w.vector(both[len(objective.alphas) :]))
        total = v
        with objective.virtual():
            graph = GradientGraph(objective, weight_batch)
            for term in range(1, max(each.terms for each in settings) + 1):
                # A lane that has all its terms goes on with 0.
                going = w.number([float(term <= each.terms) for each in settings])
                curved = w.vector(graph.by_weights(w.parts(v)))
                v = [going * (part - eta * (bent + decay * part)) for part, bent in zip(v, curved, strict=True)]
                total = [whole + part for whole, part in zip(total, v, strict=True)]
            product = graph.by_alphas(w.parts(total))
        gradients = [first - rate * p for first, p, rate in zip(direct, product, w.of_alphas(eta), strict=True)]
        return AlphaGradient(gradients, loss)
