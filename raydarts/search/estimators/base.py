"""What an estimator of dL_val/dalpha is, and what the bilevel estimators share."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from raydarts import registry
from raydarts.registry import Around, Idle, Member
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.objective import BilevelObjective
from raydarts.search.weights import LaneWeights, Number, Vector, WeightVector, weights_of
from raydarts.tasks import Batch, Loss


class AlphaGradient(NamedTuple):
    """One estimate: `gradients` are dL/dalpha in the order of the objective's alphas, `loss` is L_val at that point."""

    gradients: list[Tensor]
    loss: Loss


class Estimator(Member):
    """Estimates the gradient that alpha descends (family `estimator`).

    With `LANES` it also works for the lanes of a group: losses are `(K,)`, weights are packed, and the objective's
    alphas are those of all lanes.

    `KEEPS` says what it keeps at most for backward passes: what one `pass` needs, the graph of one `gradient` that one
    product uses up, or such a graph for several `products` (`search.products`). Then its memory is counted without a
    whole step (`search.footprint`). A class must say this itself.
    """

    KEEPS: ClassVar[Literal["pass", "gradient", "products", "unknown"]] = "unknown"

    def __init_subclass__(cls, **further: object) -> None:
        super().__init_subclass__(**further)
        cls.KEEPS = vars(cls).get("KEEPS", "unknown")

    def __init__(self, settings: BaseModel) -> None:
        super().__init__(settings)
        self.lanes: tuple[Estimator, ...] = (self,)
        """The estimators of all lanes, for numbers that differ between them."""

    def of(self, lanes: Sequence[Estimator]) -> Estimator:
        """Returns the estimator of a group, whose lanes have estimators of this class."""
        group = copy.copy(self)
        group.lanes = tuple(lanes)
        return group

    @abstractmethod
    def __call__(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer | LaneWeights,
    ) -> AlphaGradient:
        """Returns one estimate.

        `optimizer` is the optimizer of the weights. The virtual step uses its learning rate, momentum and weight decay.
        """


def first_order_gradient(objective: BilevelObjective, alpha_batch: Batch) -> AlphaGradient:
    """Returns dL_val(w, alpha)/dalpha at the current weights."""
    with objective.virtual(), constant(objective.weights):
        loss = objective.alpha_loss(alpha_batch)
        gradients = gradients_of(loss.value, objective.alphas)
    return AlphaGradient(gradients, loss)


def resolved(chosen: Sequence[float | Literal["lr"]], rates: Sequence[float]) -> list[float]:
    """Returns the numbers of the lanes: the lane's current learning rate where `lr` was chosen."""
    return [rate if each == "lr" else float(each) for each, rate in zip(chosen, rates, strict=True)]


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

    def __call__(
        self,
        objective: BilevelObjective,
        weight_batch: Batch,
        alpha_batch: Batch,
        optimizer: torch.optim.Optimizer | LaneWeights,
    ) -> AlphaGradient:
        w = weights_of(objective, optimizer)
        rates = resolved([each.settings.xi for each in self.lanes], w.rates)
        if not any(rates):
            with objective.mixing():
                return first_order_gradient(objective, alpha_batch)
        return self.unrolled(objective, weight_batch, alpha_batch, w, w.number(rates))

    @abstractmethod
    def unrolled(
        self, objective: BilevelObjective, weight_batch: Batch, alpha_batch: Batch, w: WeightVector, xi: Number
    ) -> AlphaGradient:
        """Returns the estimate for xi > 0."""

    def clipping(self, w: WeightVector, weight_gradients: Vector) -> Number:
        """Returns k of the virtual step."""
        return w.clip(weight_gradients, w.number([each.settings.grad_clip for each in self.lanes]))


@contextmanager
def weights_restored(w: WeightVector) -> Iterator[Vector]:
    """Yields a copy of the weights and copies it back on exit.

    Copying back is exact. Subtracting what was added is not.
    """
    saved = w.saved()
    try:
        yield saved
    finally:
        w.put(saved)


def look_ahead(
    objective: BilevelObjective, w: WeightVector, saved: Vector, direction: Vector, alpha_batch: Batch, xi: Number
) -> tuple[list[Tensor], Vector, Loss]:
    """Moves the weights to w' = saved - xi * direction and returns dL_val/dalpha, v = dL_val/dw' and the loss there.

    v is 0 for frozen weights: they do not move, so dw'/dalpha is 0 and they add nothing to the second-order term. The
    weights are changed in place. The caller restores them.
    """
    w.put_sum(saved, direction, -xi)
    with objective.virtual():
        loss = objective.alpha_loss(alpha_batch)
        gradients = gradients_of(loss.value, [*objective.alphas, *objective.weights])
    count = len(objective.alphas)
    return gradients[:count], w.moving(w.vector(gradients[count:])), loss
