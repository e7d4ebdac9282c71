"""The alpha step: the estimator's gradient, the remedies' terms, Adam."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from raydarts.search.estimators.base import Estimator
from raydarts.search.moments import Step
from raydarts.search.objective import Objective
from raydarts.search.regularizers.base import Regularizer
from raydarts.tasks import Loss


class Architect:
    """Takes alpha's step: descends L_val in alpha (Algorithm 1, line 1)."""

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

    def gradient(self, step: Step) -> Loss:
        """Writes dL/dalpha into `.grad` of each alpha and returns the loss. It takes no optimizer step."""
        self.objective.begin_alpha_step()
        estimate = self.estimator(self.objective, step.weight_batch, step.alpha_batch, self.weight_optimizer)
        self.receive(estimate.gradients, step)
        return estimate.loss

    def receive(self, gradients: Sequence[Tensor], step: Step) -> None:
        """Writes an estimate with the remedies' terms into `.grad` of each alpha."""
        for parameter, gradient in zip(self.objective.alphas, gradients, strict=True):
            parameter.grad = gradient
        alphas = self.objective.alpha_by_type
        for regularizer in self.regularizers:
            extra = regularizer.alpha_gradient(alphas, step) or {}
            for name, term in extra.items():
                alphas[name].grad = alphas[name].grad + term  # type: ignore[operator]

    def step(self) -> None:
        self.optimizer.step()
