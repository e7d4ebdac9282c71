"""The paper's Algorithm 1 over one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import torch
from torch import nn

from raydarts.data.batches import Batches
from raydarts.measure import Meter, require_finite
from raydarts.search.divergence import blamed
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.model import SearchModel
from raydarts.search.moments import Step
from raydarts.search.passes import alone
from raydarts.search.regularizers.base import with_terms
from raydarts.search.settings import SearchSettings
from raydarts.streams import Streams
from raydarts.tasks import Batch, Loss

Pair = tuple[Batch, Callable[[], Batch]]
"""A weight-batch, and what draws the next alpha-batch."""


class Loop:
    """Trains a model for epochs. `data` has the parts `weight` and `alpha`."""

    def __init__(self, settings: SearchSettings, data: Mapping[str, Batches], streams: Streams) -> None:
        self.settings = settings
        self.data = data
        self.streams = streams

    def epoch(self, model: SearchModel, number: int, *, train_alpha: bool = True) -> dict[str, Meter]:
        """Runs one pass over the weight half. Errors name the epoch by `number`, from 1."""
        meters = {"weight": Meter(), "alpha": Meter()}
        model.objective.begin_epoch()
        self.steps(model, number, self.batches(), meters, train_alpha=train_alpha)
        model.schedule.step()
        return meters

    def steps(
        self,
        model: SearchModel,
        number: int,
        batches: Iterable[Pair],
        meters: Mapping[str, Meter],
        *,
        train_alpha: bool,
        first: int = 0,
    ) -> None:
        """Takes the steps of an epoch on these `batches`, of which the first one has the number `first`."""
        model.supernet.train()
        for batch, (weight_batch, draw) in enumerate(batches, first):
            step = Step(model.objective, weight_batch, draw, batch)
            with _scaled(model.weight_optimizer, weight_batch.lr_scale):
                if train_alpha:
                    # 1. Update alpha by descending dL_val(w - xi dL_train(w, alpha)/dw, alpha)/dalpha.
                    loss = model.architect.gradient(step)
                    _require_finite(model, step, loss, "alpha", number)
                    model.architect.step()
                    self._done(loss, "alpha", meters)
                # 2. Update w by descending dL_train(w, alpha)/dw.
                loss = self.weight_gradient(model, step)
                _require_finite(model, step, loss, "weight", number)
                model.weight_optimizer.step()
                self._done(loss, "weight", meters)

    def _done(self, loss: Loss, part: str, meters: Mapping[str, Meter]) -> None:
        meters[part].add(loss.data, loss.correct, loss.count)
        self.data[part].carry(loss.memory)

    def batches(self) -> Iterator[Pair]:
        """Yields pairs of a weight-batch and what draws the next alpha-batch. A shorter alpha half starts again."""
        size = self.settings.batch_size
        alpha = (
            batch
            for _ in count()
            for batch in self.data["alpha"].epoch(size, self.streams["alpha_order"], self.streams["alpha_augment"])
        )
        weight = self.data["weight"].epoch(size, self.streams["weight_order"], self.streams["weight_augment"])
        return ((batch, alpha.__next__) for batch in weight)

    def weight_gradient(self, model: SearchModel, step: Step) -> Loss:
        """Writes dL_train/dw into the weights' `.grad` and returns the loss.

        The gradient includes the remedies' terms and is clipped. Frozen weights get no gradient. So SGD neither moves
        nor decays them.
        """
        weights = list(model.supernet.parameters())
        with constant(model.objective.alphas):
            loss = model.objective.perturbed_weight_loss(step)
        gradients = gradients_of(loss.value, weights)
        for asking in with_terms(model.regularizers, weights, gradients, step):
            alone(asking, step)
        frozen = model.objective.frozen
        for position, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
            weight.grad = None if position in frozen else gradient
        if self.settings.grad_clip > 0:
            nn.utils.clip_grad_norm_(weights, self.settings.grad_clip)
        return loss


@contextmanager
def _scaled(optimizer: torch.optim.Optimizer, factor: float) -> Iterator[None]:
    """Multiplies the learning rate by `factor` inside the context."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _require_finite(model: SearchModel, step: Step, loss: Loss, side: str, epoch: int) -> None:
    def setting() -> str:
        return blamed(model, step, side)

    require_finite(loss.value, f"{side} loss", epoch, step.number, setting)
    for alpha in model.objective.alphas if side == "alpha" else ():
        if alpha.grad is not None:
            require_finite(alpha.grad.sum(), "gradient of alpha", epoch, step.number, setting)
