"""The alpha step: an estimator's gradient, the remedies' terms, Adam."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raydarts.data.batches import Batch
from raydarts.search.estimators.base import Estimator
from raydarts.search.objective import Loss, Objective
from raydarts.search.regularizers.base import Regularizer


class Architect:
    """Descends L_val in alpha (Algorithm 1, line 1)."""

    def __init__(
        self,
        objective: Objective,
        estimator: Estimator,
        regularizers: Sequence[Regularizer],
        optimizer: torch.optim.Optimizer,
        weight_optimizer: torch.optim.Optimizer,
    ) -> None:
        self.objective = objective
        self.estimator = estimator
        self.regularizers = tuple(regularizers)
        self.optimizer = optimizer
        self.weight_optimizer = weight_optimizer

    def gradient(self, weight_batch: Batch, alpha_batch: Batch) -> Loss:
        """Puts dL/dalpha into alpha's `.grad`; returns the loss there. No optimizer steps."""
        found = self.estimator(self.objective, weight_batch, alpha_batch, self.weight_optimizer)
        alphas = self.objective.alpha_by_type
        gradients = dict(zip(alphas, found.gradients, strict=True))
        for regularizer in self.regularizers:
            extra = regularizer.alpha_gradient(alphas, (self.objective, alpha_batch)) or {}
            for name, term in extra.items():
                gradients[name] = gradients[name] + term
        for name, alpha in alphas.items():
            alpha.grad = gradients[name]
        return found.loss

    def step(self) -> None:
        self.optimizer.step()
