"""The second term of an unrolled estimate, by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from raydarts.search.estimators.base import first_order_gradient
from raydarts.search.moments import Step
from raydarts.search.search import Search


def gradient_of(job: Search) -> Tensor:
    return torch.cat([alpha.grad.flatten() for alpha in job.alphas.values() if alpha.grad is not None])


def second_order(job: Search, step: Step, xi: float) -> Tensor:
    """The estimate less dL_val/dalpha at w' (the first of the two terms)."""
    job.architect.gradient(step)
    whole = gradient_of(job)
    with job.objective.virtual():
        loss = job.objective.weight_loss(step.weight_batch)
        gradients = torch.autograd.grad(loss.value, job.objective.weights, materialize_grads=True)
    decay = job.weight_optimizer.param_groups[0]["weight_decay"]
    with torch.no_grad():
        for weight, gradient in zip(job.objective.weights, gradients, strict=True):
            weight.sub_(xi * (gradient + decay * weight))
    first = first_order_gradient(job.objective, step.alpha_batch).gradients
    return whole - torch.cat([part.flatten() for part in first])
