"""Products with the second derivatives of L_train, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raydarts.search.objective import BilevelObjective
from raydarts.spaces.second_derivatives import twice_differentiable
from raydarts.tasks import Batch


class GradientGraph:
    """dL_train/dw of one batch, with the graph that its derivatives need.

    A direction has a tensor for each weight of the objective. Frozen weights have no part in any product: their
    entries of a direction are not read, and their entries of a result are 0.

    The graph holds about the memory of a forward and a backward pass. It is made of the weights as they are now. Do not
    change them while it is in use.
    """

    def __init__(self, objective: BilevelObjective, batch: Batch) -> None:
        with twice_differentiable():
            loss = objective.weight_loss(batch).value
        loss = loss.sum() if loss.dim() else loss
        frozen = objective.frozen
        self._objective = objective
        self._moving = [position for position in range(len(objective.weights)) if position not in frozen]
        self._weights = [objective.weights[position] for position in self._moving]
        self._gradients = (
            torch.autograd.grad(loss, self._weights, create_graph=True, materialize_grads=True) if self._weights else ()
        )

    @property
    def gradients(self) -> list[Tensor]:
        """dL_train/dw without a graph, 0 for frozen weights."""
        return self._whole([gradient.detach() for gradient in self._gradients])

    def by_alphas(self, direction: Sequence[Tensor]) -> list[Tensor]:
        """Returns d2L_train/(dalpha dw) times the direction. The graph is used up."""
        return self._product(self._objective.alphas, direction, keep=False)

    def by_weights(self, direction: Sequence[Tensor]) -> list[Tensor]:
        """Returns d2L_train/dw2 times the direction. The graph stays for further products."""
        return self._whole(self._product(self._weights, direction, keep=True))

    def by_both(self, direction: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Returns both products, by alphas and by weights, of one backward pass. The graph is used up."""
        count = len(self._objective.alphas)
        products = self._product([*self._objective.alphas, *self._weights], direction, keep=False)
        return products[:count], self._whole(products[count:])

    def _product(self, leaves: Sequence[Tensor], direction: Sequence[Tensor], *, keep: bool) -> list[Tensor]:
        # A weight that a sparse relaxation left out has a gradient that depends on nothing.
        pairs = [
            (gradient, direction[position])
            for gradient, position in zip(self._gradients, self._moving, strict=True)
            if gradient.requires_grad
        ]
        if not pairs:
            return [torch.zeros_like(leaf) for leaf in leaves]
        outputs, directions = zip(*pairs, strict=True)
        return list(torch.autograd.grad(outputs, leaves, directions, retain_graph=keep, materialize_grads=True))

    def _whole(self, moving: Sequence[Tensor]) -> list[Tensor]:
        """Returns a tensor for each weight. Those of frozen weights are 0."""
        values = dict(zip(self._moving, moving, strict=True))
        return [
            values[position] if position in values else torch.zeros_like(weight)
            for position, weight in enumerate(self._objective.weights)
        ]
