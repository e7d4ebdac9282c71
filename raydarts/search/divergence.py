"""Names the setting that made a search leave the range of its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from raydarts.measure import outgrown, setting_of
from raydarts.search.estimators.base import UnrolledSettings
from raydarts.search.estimators.neumann import NeumannSettings
from raydarts.search.gradients import constant, gradients_of
from raydarts.search.model import SearchModel
from raydarts.search.moments import Step
from raydarts.search.regularizers.base import Regularizer, defines
from raydarts.search.settings import SearchSettings
from raydarts.tasks import Batch


def blamed(model: SearchModel, step: Step, side: str) -> str:
    """Returns the setting to look at after a loss or a gradient of `side` (`weight` or `alpha`) was not finite.

    The place where the bad number appears says little. Weights that are out of range show first in alpha's loss,
    because that is computed before their own loss. So this function computes the plain loss and its gradient again:
    once as they are, and once with alpha at 0, where all candidates have equal weight. It changes no parameter. The
    search ends afterwards.
    """
    if not all(_finite([batch.inputs]) for batch in (step.weight_batch, step.alpha_batch)):
        return "data.dataset, whose batch holds values that are not finite"
    if _works(model, step):
        return _beside(model, step, side)
    with _at_zero(model.objective.alphas):
        return _of_alpha(model, step, side) if _works(model, step) else _of_weights(model, step)


def _finite(values: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in values)


def _works(model: SearchModel, step: Step) -> bool:
    """Returns whether the plain losses of both batches and alpha's gradients of them are finite."""
    return all(_passes(model, batch) for batch in (step.weight_batch, step.alpha_batch))


def _passes(model: SearchModel, batch: Batch) -> bool:
    objective = model.objective
    with objective.virtual(), constant(objective.weights):
        loss = objective.training_loss(batch, objective.arch_weights())
        return _finite([loss.value.detach(), *gradients_of(loss.value, objective.alphas)])


@contextmanager
def _at_zero(values: list[Tensor]) -> Iterator[None]:
    saved = [value.detach().clone() for value in values]
    with torch.no_grad():
        torch._foreach_zero_(values)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(values, saved)


def _is_fresh(model: SearchModel, step: Step) -> bool:
    """Returns whether the weights have had no step yet."""
    return model.schedule.last_epoch == 0 and step.number == 0


def _of_alpha(model: SearchModel, step: Step, side: str) -> str:
    settings = model.parts.settings
    if side == "alpha" and _is_fresh(model, step):
        return setting_of("search", "alpha_init", settings.alpha_init)
    return setting_of("search", "arch_lr", settings.arch_lr)


def _of_weights(model: SearchModel, step: Step) -> str:
    if _is_fresh(model, step):
        return "data.dataset and search.space: the loss of the first batch is not finite before any step"
    settings = model.parts.settings
    if model.tuning is not None and model.tuning.lr != model.parts.optimizers["lr"]:
        return f"search.selection ({settings.selection.name}), which sets the learning rate of these epochs"
    return _of_the_optimizer(model)


def _of_the_optimizer(model: SearchModel) -> str:
    """Returns the setting of the weights' optimizer that is out of range, with the place that set it."""
    settings = model.parts.settings
    key = outgrown(model.weight_optimizer, SearchSettings())
    if key == "weight_decay" and (remedy := _which(settings, lambda each: "weight_decay" in each.OVERRIDES)):
        return remedy
    return setting_of("search", key, getattr(settings, key), unclipped=settings.grad_clip == 0)


def _beside(model: SearchModel, step: Step, side: str) -> str:
    """Returns the cause when weights and alpha are in range: a remedy or the estimator."""
    settings = model.parts.settings
    if side == "weight":
        hooks = ("perturb", "weight_gradient", "perturbing", "weight_terms")
        return _which(settings, lambda each: defines(each, *hooks)) or setting_of("search", "lr", settings.lr)
    with torch.no_grad():
        seen = model.objective.arch_weights(expected=True)
        for index, regularizer in enumerate(model.regularizers):
            penalty = regularizer.penalty(model.objective.alpha_by_type, seen)
            if penalty is not None and not _finite([penalty]):
                return f"search.regularizers.{index} ({regularizer.NAME})"
    estimator = settings.estimator.settings
    if isinstance(estimator, UnrolledSettings) and not estimator.is_first_order:
        return _of_the_virtual_step(model, step)
    if isinstance(estimator, NeumannSettings):
        series = [setting_of("search.estimator", "eta", estimator.eta)]
        series += [setting_of("search.estimator", "terms", estimator.terms)] if estimator.terms else []
        return " or ".join(series)
    names = [f"search.regularizers.{index} ({each.NAME})" for index, each in enumerate(model.regularizers)]
    return " or ".join(names) or setting_of("search", "arch_lr", settings.arch_lr)


def _of_the_virtual_step(model: SearchModel, step: Step) -> str:
    """Returns `xi` if the loss after the virtual step is not finite, else another setting of the estimator."""
    settings = model.parts.settings
    xi = settings.estimator.settings.xi
    estimate = model.architect.estimator(model.objective, step.weight_batch, step.alpha_batch, model.weight_optimizer)
    if not _finite([estimate.loss.value.detach()]) or not hasattr(settings.estimator.settings, "epsilon"):
        if outgrown(model.weight_optimizer, SearchSettings()) == "weight_decay":
            return _of_the_optimizer(model)
        if xi == "lr":
            return f"{_of_the_optimizer(model)}; search.estimator.xi follows the learning rate"
        return setting_of("search.estimator", "xi", xi)
    return setting_of("search.estimator", "epsilon", settings.estimator.settings.epsilon)


def _which(settings: SearchSettings, acts: Callable[[type[Regularizer]], bool]) -> str:
    """Returns the remedies that act in this way, as places in the spec. The text is empty if there are none."""
    names = [
        f"search.regularizers.{index} ({component.name})"
        for index, component in enumerate(settings.regularizers)
        if acts(component.member)  # type: ignore[arg-type]
    ]
    return " or ".join(names)
