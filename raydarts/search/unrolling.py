"""The gradient that every estimator estimates: the derivative of L_val after many weight steps, through all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raydarts.search.estimators.base import weights_restored
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.objective import BilevelObjective
from raydarts.search.products import GradientGraph
from raydarts.search.weights import SearchWeights
from raydarts.tasks import Batch


@dataclass(frozen=True)
class WeightStep:
    """One step of the weights, as the search takes it.

    m = momentum * m + k dL_train/dw + weight_decay * w, then w = w - lr * m. k = min(1, grad_clip / (norm + 1e-6)),
    with the norm of dL_train/dw. k is 1 if `grad_clip` is 0. A batch's `lr_scale` multiplies `lr`.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    grad_clip: float = 0.0

    def clipped(self, gradient: Sequence[Tensor]) -> Sequence[Tensor]:
        """Returns k times the gradient."""
        norm = _norm(gradient)
        if self.grad_clip == 0 or norm + 1e-6 <= self.grad_clip:
            return gradient
        return torch._foreach_mul(list(gradient), self.grad_clip / (norm + 1e-6))

    def clipped_adjoint(self, gradient: Sequence[Tensor], adjoint: Sequence[Tensor]) -> Sequence[Tensor]:
        """Returns the transposed derivative of `clipped` times the adjoint. k depends on the gradient too."""
        norm = _norm(gradient)
        if self.grad_clip == 0 or norm + 1e-6 <= self.grad_clip:
            return adjoint
        k = self.grad_clip / (norm + 1e-6)
        along = float(sum(torch.sum(g * a) for g, a in zip(gradient, adjoint, strict=True)))
        slope = -k / (norm + 1e-6) * along / norm
        return [k * a + slope * g for g, a in zip(gradient, adjoint, strict=True)]


def _norm(values: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(values)))))


def unrolled_gradient(
    objective: BilevelObjective,
    weight_batches: Sequence[Batch],
    alpha_batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    rule: WeightStep,
    steps: int,
) -> list[Tensor]:
    """Returns dL_val(w_T(alpha), alpha)/dalpha for each alpha, where w_T is w after T = `steps` weight steps.

    Step t uses weight-batch t modulo their number. L_val is the mean over the alpha-batches. The first step has the
    optimizer's momentum buffers if the rule has momentum. Frozen weights rest.

    This is exact reverse differentiation through all steps. Going forward, only the weights before each step are kept.
    Going back, each step's gradient is computed again with its graph. So the memory is T copies of the weights and the
    graph of one step (that of `exact_hvp`), not T graphs. The cost is about six gradients of L_train a step.

    The weights are restored to the last bit.
    """
    weights, moving = objective.weights, _Moving(objective)
    momentum = moving.buffers(optimizer) if rule.momentum else [torch.zeros_like(weight) for weight in weights]
    before: list[list[Tensor]] = []
    with weights_restored(SearchWeights(objective, optimizer)):
        for t in range(steps):
            batch = weight_batches[t % len(weight_batches)]
            before.append([weight.detach().clone() for weight in weights])
            with objective.virtual(), constant(objective.alphas):
                gradient = moving.of(gradients_of(objective.weight_loss(batch).value, weights))
            momentum = [
                rule.momentum * m + g + rule.weight_decay * weight
                for m, g, weight in zip(momentum, rule.clipped(gradient), before[-1], strict=True)
            ]
            momentum = moving.of(momentum)
            with torch.no_grad():
                torch._foreach_sub_(list(weights), momentum, alpha=rule.lr * batch.lr_scale)
        by_alpha, by_weights = _validation(objective, alpha_batches)
        to_w = moving.of(by_weights)  # the derivative of L_val by w after the step, going back
        to_m = [torch.zeros_like(weight) for weight in weights]
        for t in reversed(range(steps)):
            batch = weight_batches[t % len(weight_batches)]
            with torch.no_grad():
                torch._foreach_copy_(list(weights), before.pop())
            lr = rule.lr * batch.lr_scale
            to_m = [m - lr * part for m, part in zip(to_m, to_w, strict=True)]
            with objective.virtual():
                graph = GradientGraph(objective, batch)
                products, bent = graph.by_both(rule.clipped_adjoint(graph.gradients, to_m))
            by_alpha = [total + part for total, part in zip(by_alpha, products, strict=True)]
            to_w = [part + rule.weight_decay * m + b for part, m, b in zip(to_w, to_m, bent, strict=True)]
            to_m = [rule.momentum * m for m in to_m]
    return by_alpha


def _validation(objective: BilevelObjective, batches: Sequence[Batch]) -> tuple[list[Tensor], list[Tensor]]:
    """Returns dL_val/dalpha and dL_val/dw, the means over the batches."""
    leaves = [*objective.alphas, *objective.weights]
    total = [torch.zeros_like(leaf) for leaf in leaves]
    for batch in batches:
        with objective.virtual():
            gradients = gradients_of(objective.alpha_loss(batch).value, leaves)
        total = [whole + part / len(batches) for whole, part in zip(total, gradients, strict=True)]
    count = len(objective.alphas)
    return total[:count], total[count:]


class _Moving:
    """The weights that steps move. Vectors are 0 for all others."""

    def __init__(self, objective: BilevelObjective) -> None:
        self._weights, self._frozen = list(objective.weights), objective.frozen

    def of(self, vector: Sequence[Tensor]) -> list[Tensor]:
        return [
            torch.zeros_like(part) if position in self._frozen else part.detach()
            for position, part in enumerate(vector)
        ]

    def buffers(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        """Returns the optimizer's momentum, 0 before the first step."""
        each = (optimizer.state[w].get("momentum_buffer") if w in optimizer.state else None for w in self._weights)
        return [
            torch.zeros_like(weight) if buffer is None else buffer.detach().clone()
            for weight, buffer in zip(self._weights, each, strict=True)
        ]
