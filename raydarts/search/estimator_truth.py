"""How near estimates of alpha's gradient are to the gradient through many weight steps, on the same batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn

from raydarts.data.batches import Batches
from raydarts.search.estimators.base import Estimator, first_order_gradient
from raydarts.search.model import SearchModel
from raydarts.search.unrolling import WeightStep, unrolled_gradient
from raydarts.streams import derived_seed
from raydarts.tasks import Batch

Gradient = dict[str, Tensor]
"""dL/dalpha by cell type, in float64. `FURTHER` has the remedies' architecture parameters, if there are any."""
FURTHER = "further parameters"
_NAME = "estimator_truth"


@dataclass(frozen=True)
class Asked:
    """What is compared: which estimators, with how many weight steps, on how many batches of each half."""

    steps: int
    batches: int
    optimizer: Literal["search", "sgd"]
    estimators: Mapping[str, Estimator]


@dataclass(frozen=True)
class Compared:
    """The gradient through all steps, dL_val/dalpha at w, and the estimates by name."""

    truth: Gradient
    first_order: Gradient
    estimates: Mapping[str, Gradient]


def compared(
    model: SearchModel, data: Mapping[str, Batches], batch_size: int, asked: Asked, epoch: int, rate: float
) -> Compared:
    """Compares estimates with the gradient through `asked.steps` weight steps, at the present weights and alpha.

    The batches are augmented as in the search. Search seed and epoch fix them, and no stream of the search is drawn
    from. The unroll goes through all weight-batches in turn and takes the mean of L_val over all alpha-batches. An
    estimate is the mean over the pairs of a weight-batch and an alpha-batch.

    Losses are those that estimators see. The supernet is in training mode: batch norms use each batch's statistics.
    Dropout masks and the draws of a random relaxation are the same in all passes. What remedies add to the weight step
    alone (perturbations, further gradients) is in neither side.

    Everything that the comparison moves is put back: weights, running statistics, random states, learning rates.

    Args:
        model: the search's model.
        data: parts with `weight` and `alpha`.
        batch_size: size of a batch of either half.
        asked: what is compared.
        epoch: number of the epoch.
        rate: learning rate of the weights in that epoch.
    """
    objective, optimizer, streams = model.objective, model.weight_optimizer, model.parts.streams
    group = optimizer.param_groups[0]
    plain = asked.optimizer == "sgd"
    rule = WeightStep(
        rate,
        0.0 if plain else float(group["momentum"]),
        float(group["weight_decay"]),
        0.0 if plain else model.parts.settings.grad_clip,
    )
    with ExitStack() as stack:
        on_gpu = streams.device.type == "cuda"
        stack.enter_context(torch.random.fork_rng(devices=[streams.device] if on_gpu else []))
        stack.enter_context(_kept(model.supernet))
        stack.enter_context(objective.drawing(derived_seed(streams.seed, f"{_NAME}/draws/{epoch}")))
        model.supernet.train()

        def drawn(part: str) -> list[Batch]:
            order, augment = (
                torch.Generator(streams.device).manual_seed(derived_seed(streams.seed, f"{_NAME}/{part}/{of}/{epoch}"))
                for of in ("order", "augment")
            )
            return list(islice(data[part].epoch(batch_size, order, augment), asked.batches))

        weight_batches, alpha_batches = drawn("weight"), drawn("alpha")
        pairs = list(zip(weight_batches, alpha_batches, strict=False))
        weight_batches, alpha_batches = [pair[0] for pair in pairs], [pair[1] for pair in pairs]

        def by_cell(gradients: Sequence[Tensor]) -> Gradient:
            return _by_cell(model, gradients)

        truth = unrolled_gradient(objective, weight_batches, alpha_batches, optimizer, rule, asked.steps)
        first = [first_order_gradient(objective, batch).gradients for batch in alpha_batches]
        estimates: dict[str, Gradient] = {}
        for name, estimator in asked.estimators.items():
            each = []
            for weight_batch, alpha_batch in pairs:
                with _at_rate(optimizer, rate * weight_batch.lr_scale):
                    each.append(estimator(objective, weight_batch, alpha_batch, optimizer).gradients)
            estimates[name] = by_cell(_mean(each))
        return Compared(by_cell(truth), by_cell(_mean(first)), estimates)


def _mean(each: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.stack([part.double() for part in parts]).mean(0) for parts in zip(*each, strict=True)]


def _by_cell(model: SearchModel, gradients: Sequence[Tensor]) -> Gradient:
    flat = [gradient.detach().double().flatten().cpu() for gradient in gradients]
    cells = dict(zip(model.alphas, flat, strict=False))
    further = flat[len(cells) :]
    return cells | ({FURTHER: torch.cat(further)} if further else {})


@contextmanager
def _kept(supernet: nn.Module) -> Iterator[None]:
    """Puts weights, buffers and mode of the supernet back on exit, to the last bit."""
    training = supernet.training
    tensors = [*supernet.parameters(), *supernet.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)
        supernet.train(training)


@contextmanager
def _at_rate(optimizer: torch.optim.Optimizer, rate: float) -> Iterator[None]:
    """Sets the learning rate inside the context."""
    before = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = rate
    try:
        yield
    finally:
        for group, lr in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = lr


def cosine(one: Tensor, other: Tensor) -> float | None:
    """Returns the cosine of the angle between two gradients, or None if one is 0 or not finite."""
    both = float(one.norm() * other.norm())
    if not math.isfinite(both) or both == 0:
        return None
    return min(1.0, max(-1.0, float(one @ other) / both))


def nearness(found: Compared, name: str) -> dict[str, dict[str, float | None]]:
    """Returns the figures of one estimate: by cell type, and of the whole gradient under an empty name.

    `cosine` with the truth. `norm_ratio`: the estimate's norm divided by the truth's. `correction`: the cosine of what
    is added to first order, estimate - dL_val/dalpha at w against truth - dL_val/dalpha at w; None for first order.
    """
    cells = [cell for cell in found.truth if cell != FURTHER]

    def figures(names: Sequence[str]) -> dict[str, float | None]:
        truth, first, estimate = (
            torch.cat([gradient[cell] for cell in names])
            for gradient in (found.truth, found.first_order, found.estimates[name])
        )
        ratio = float(estimate.norm() / truth.norm())
        return {
            "cosine": cosine(estimate, truth),
            "norm_ratio": ratio if math.isfinite(ratio) else None,
            "correction": cosine(estimate - first, truth - first),
        }

    return {"": figures(list(found.truth))} | {cell: figures([cell]) for cell in cells}
