"""What an estimator of dL_val/dalpha is, and what the bilevel estimators share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from raydarts import registry
from raydarts.registry import Around, Idle, Member
from raydarts.search.objective import BilevelObjective
from raydarts.tasks import Batch, Loss


class AlphaGradient(NamedTuple):
    """One estimate: `gradients` are dL/dalpha in the order of the objective's alphas, `loss` is L_val at that point."""

    gradients: list[Tensor]
    loss: Loss


class Estimator(Member):
    """Estimates the gradient that alpha descends (family `estimator`)."""

    @abstractmethod
    def __call__(
        self, objective: BilevelObjective, weight_batch: Batch, alpha_batch: Batch, optimizer: torch.optim.Optimizer
    ) -> AlphaGradient:
        """Returns one estimate.

        `optimizer` is the optimizer of the weights. The virtual step uses its learning rate, momentum and weight decay.
        """


@contextmanager
def constant(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Makes these tensors constants inside the context. Gradients of all others are then cheaper.

    Pass all weights or all alphas. On exit, the tensors that were trained before are trained again. A weight that its
    module holds fixed stays fixed.
    """
    learning = [leaf for leaf in leaves if leaf.requires_grad]
    for leaf in learning:
        leaf.requires_grad_(False)
    try:
        yield
    finally:
        for leaf in learning:
            leaf.requires_grad_(True)


def gradients_of(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Returns dloss/dleaf for each leaf.

    The gradient is 0 if a sparse relaxation has left the leaf out of the pass, or if the module holds it fixed. A loss
    has no graph if every edge drew `none`. Then all gradients are 0.
    """
    learning = [leaf for leaf in leaves if leaf.requires_grad] if loss.requires_grad else []
    gradients = iter(torch.autograd.grad(loss, learning, materialize_grads=True) if learning else ())
    return [next(gradients) if loss.requires_grad and leaf.requires_grad else torch.zeros_like(leaf) for leaf in leaves]


def first_order_gradient(objective: BilevelObjective, alpha_batch: Batch) -> AlphaGradient:
    """Returns dL_val(w, alpha)/dalpha at the current weights."""
    with objective.virtual(), constant(objective.weights):
        loss = objective.alpha_loss(alpha_batch)
        gradients = gradients_of(loss.value, objective.alphas)
    return AlphaGradient(gradients, loss)


class UnrolledSettings(registry.Settings):
    """Settings of an estimator with a virtual step.

    The authors' convolutional code does not clip in the virtual step. Their recurrent code clips at 0.25.
    """

    xi: Literal["lr"] | float = Field(
        "lr",
        union_mode="left_to_right",
        description="Learning rate of the virtual step. `lr` is the weights' current learning rate.",
    )
    grad_clip: float = Field(
        0.0, ge=0, description="Largest L2 norm of dL_train/dw in the virtual step. 0 does not clip."
    )

    def may_change(self) -> tuple[str, ...]:
        return ("xi", "grad_clip")

    @property
    def is_first_order(self) -> bool:
        return self.xi == 0


class UnrolledEstimator(Estimator):
    """An estimator that looks one virtual step ahead: w' = w - xi (mu * buffer + k dL_train/dw + wd * w).

    k = min(1, grad_clip / (norm + 1e-6)). The norm is the L2 norm of dL_train/dw over all weights that are trained.
    Without clipping k is 1. The derivative of w' by alpha treats k as constant, as the authors' recurrent code does
    (rnn/architect.py). So the implicit term is multiplied by xi k.

    Two things differ from their code. There, k may exceed 1 in that term although nothing was clipped, and dL_val/dw'
    is clipped before it is multiplied. We do neither, because neither belongs to the derivative. Their virtual step has
    no momentum. To match it, set `search.momentum` to 0.

    mu, buffer and wd are the weight optimizer's momentum, momentum buffer and weight decay, as in the authors' code.
    Eq. 6 omits them. Section 2.3 of the paper says that momentum changes it accordingly. Weight decay is the gradient
    of a part of L_train.
    """

    class Settings(UnrolledSettings):
        pass

    FIRST_ORDER: ClassVar[dict[str, str]] = {"name": "first_order"}

    @classmethod
    def effective(cls, settings: BaseModel) -> dict[str, object] | None:
        """Returns `first_order` if xi is 0. Both give the same bits then."""
        first_order = isinstance(settings, cls.Settings) and settings.is_first_order
        return dict(cls.FIRST_ORDER) if first_order else super().effective(settings)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.settings.is_first_order:
            yield Idle(
                "xi",
                f"is 0, which makes {self.registered} first order, whatever its other settings; write estimator: "
                "first_order, or xi: lr, or a number above 0",
            )

    def xi(self, optimizer: torch.optim.Optimizer) -> float:
        return float(optimizer.param_groups[0]["lr"] if self.settings.xi == "lr" else self.settings.xi)

    def __call__(
        self, objective: BilevelObjective, weight_batch: Batch, alpha_batch: Batch, optimizer: torch.optim.Optimizer
    ) -> AlphaGradient:
        xi = self.xi(optimizer)
        if xi == 0:
            return first_order_gradient(objective, alpha_batch)
        return self.unrolled(objective, weight_batch, alpha_batch, optimizer, xi)

    @abstractmethod
    def unrolled(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer,
        xi: float,
    ) -> AlphaGradient:
        """Returns the estimate for xi > 0."""


@contextmanager
def weights_restored(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yields copies of the weights and copies them back on exit.

    Copying back is exact. Subtracting what was added is not.
    """
    saved = [weight.detach().clone() for weight in weights]
    try:
        yield saved
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(weights), saved)


def clip_coefficient(objective: BilevelObjective, gradients: Sequence[Tensor], largest: float) -> float:
    """Returns min(1, largest / (norm + 1e-6)), as `clip_grad_norm_` computes it, or 1 if `largest` is 0.

    The norm covers the weights that are trained.
    """
    if largest == 0:
        return 1.0
    frozen = objective.frozen
    learning = [gradient for position, gradient in enumerate(gradients) if position not in frozen]
    return min(1.0, largest / (float(nn.utils.get_total_norm(learning)) + 1e-6))


def virtual_direction(
    objective: BilevelObjective, gradients: Sequence[Tensor], optimizer: torch.optim.Optimizer, coefficient: float
) -> list[Tensor]:
    """Returns mu * momentum_buffer + coefficient * gradient + wd * w: the direction of the weights' SGD step.

    It is 0 for frozen weights.
    """
    group = optimizer.param_groups[0]
    frozen = objective.frozen
    directions = []
    for position, (weight, gradient) in enumerate(zip(objective.weights, gradients, strict=True)):
        if position in frozen:
            directions.append(torch.zeros_like(gradient))
            continue
        direction = coefficient * gradient + group["weight_decay"] * weight.detach()
        buffer = optimizer.state[weight].get("momentum_buffer") if weight in optimizer.state else None
        if buffer is not None:
            direction = direction + group["momentum"] * buffer
        directions.append(direction)
    return directions


def look_ahead(
    objective: BilevelObjective,
    weight_gradients: Sequence[Tensor],
    alpha_batch: Batch,
    optimizer: torch.optim.Optimizer,
    xi: float,
    coefficient: float,
) -> tuple[list[Tensor], list[Tensor], Loss]:
    """Moves the weights to w' and returns dL_val/dalpha, v = dL_val/dw' and the loss there.

    `coefficient` multiplies the gradients of the virtual step. v is 0 for frozen weights: they do not move, so
    dw'/dalpha is 0 and they add nothing to the second-order term. The weights are changed in place. The caller restores
    them.
    """
    direction = virtual_direction(objective, weight_gradients, optimizer, coefficient)
    with torch.no_grad():
        torch._foreach_add_(list(objective.weights), direction, alpha=-xi)
    with objective.virtual():
        loss = objective.alpha_loss(alpha_batch)
        gradients = gradients_of(loss.value, [*objective.alphas, *objective.weights])
    count = len(objective.alphas)
    frozen = objective.frozen
    v = [
        torch.zeros_like(gradient) if position in frozen else gradient
        for position, gradient in enumerate(gradients[count:])
    ]
    return gradients[:count], v, loss
