"""Lambda-DARTS: aligns the layers' gradients by their arch weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.moments import Moment, Step
from raydarts.search.objective import Objective
from raydarts.search.passes import Asking, Pass
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space
from raydarts.spaces.networks import reduction_layers

REDUCTION = "reduce"


class LambdaAlignment(Regularizer):
    """Rewards weights under which all layers of a cell type want the same change of their shared arch weights.

    The weights descend L_train - strength * progress * Lambda with progress = epoch / (epochs - 1). g_k, `(num_edges,
    num_ops)`, is the gradient of L_train by the arch weights of layer k only. Lambda is the mean over pairs of layers
    of the correlation (cosine) of g_k and g_l. `measure: sign` uses g_k . g_l / (|g_k| . |g_l|) with entrywise absolute
    values instead. With `reduction` the layers of the reduction cells are aligned with each other too, and both Lambdas
    are added. In darts-rnn the layers are the time steps of a batch.

    dLambda/dw is a finite difference of dL_train/dw at the arch weights a_k +- eps delta_k, with delta_k = dLambda/dg_k
    and eps = epsilon / norm(delta) over all layers. All passes use the step's weight-batch and the same dropout masks,
    change nothing, and share one draw of a random relaxation.

    Cost: three forward and backward passes of the weight-batch in each step, two of them by the weights.
    """

    NAME = "lambda_alignment"
    LANES = True
    SOURCE = "Lambda-DARTS (Movahedi et al. 2023, arXiv 2210.07998), layer alignment; strength .125, epsilon 1e-4"
    NEUTRAL = {"strength": 0.0}
    CONTRACT: ClassVar[Mapping[str, object]] = {
        "reduction": True
    }  # three layers have one normal cell, and a single layer cannot be aligned
    FORMULA = (
        "dL_train/dw - strength * progress * d/dw mean over k < l of cos(g_k, g_l), g_k = dL_train/d(arch_weights_k)"
    )
    DIFFERS = (
        "The paper speaks of gradients by alpha; as in the authors' code they are by the arch weights, the softmax not "
        "passed through. Their code takes g_k from the weight step's own backward pass; here it has a pass of its own, "
        "so that other remedies may perturb the weight step, and batch-norm statistics move once a step, not three "
        "times. Their search script and their recurrent cell take strength .25 and epsilon 1e-3; there two recurrent "
        "cells are stacked and aligned at the last time step, while darts-rnn has one cell, as in DARTS' paper, whose "
        "time steps are aligned. Aligning reduction cells is commented out in their code."
    )

    class Settings(registry.Settings):
        strength: float = Field(0.125, ge=0, description="Factor on the reward in the last epoch. It rises from 0.")
        epsilon: float = Field(1e-4, gt=0, description="Numerator of the step of the finite difference.")
        measure: Literal["cosine", "sign"] = Field("cosine", description="How two layers' gradients are compared.")
        reduction: bool = Field(False, description="Whether reduction cells are aligned too.")

        def may_change(self) -> tuple[str, ...]:
            return ("strength", "epsilon")

    @property
    def from_zero(self) -> bool:
        return True

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._weight = 0.0

    def check(self, space: Space, epochs: int) -> None:
        layers = getattr(space.settings, "layers", None)
        if layers is None or REDUCTION not in space.cells:
            return
        reductions = len(reduction_layers(layers))
        self._require_pairs({"normal": layers - reductions, REDUCTION: reductions})

    def attach(self, space: Space, objective: Objective) -> None:
        if known := objective.supernet.layers():  # type: ignore[operator]
            self._require_pairs(known)

    def _aligned(self, layers: Mapping[str, int]) -> dict[str, int]:
        """Returns the cell types that are aligned, with their layers."""
        return {
            name: count
            for name, count in layers.items()
            if count > 1 and (self.settings.reduction or name != REDUCTION)
        }

    def _require_pairs(self, layers: Mapping[str, int]) -> None:
        if not self._aligned(layers) and self.settings.strength > 0:
            counts = ", ".join(f"{count} of type {name}" for name, count in layers.items())
            raise InputError(
                f"lambda_alignment aligns the layers of a cell type with one another, and there are {counts}: "
                "give the space more layers, set reduction: true, or leave it out"
            )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        layers = getattr(around.section.space.settings, "layers", None)
        if self.settings.reduction and layers is not None and len(reduction_layers(layers)) < 2:
            yield Idle(
                "reduction", f"is true, and of {layers} layers fewer than 2 are reductions; write false, or more layers"
            )

    def on_epoch_start(self, now: Moment) -> None:
        self._weight = self.settings.strength * now.progress

    def weight_terms(self, weights: Sequence[Tensor], step: Step) -> Asking[Sequence[Tensor] | None]:
        if self._weight == 0.0:
            return None
        objective = step.objective
        objective.begin_alpha_step()  # this step has its own draw, also while alpha is not trained
        with objective.virtual(), torch.no_grad():
            arch_weights = objective.arch_weights()
        layers = self._aligned(objective.supernet.layers(step.weight_batch.inputs))  # type: ignore[operator]
        if not layers:  # a text's batch of a single token
            return None
        layered = {name: arch_weights[name].expand(count, -1, -1).clone() for name, count in layers.items()}
        gradients = (yield Pass("weight", arch_weights | layered, tuple(layered))).gradients
        delta = {name: self._direction(gradient) for name, gradient in zip(layered, gradients, strict=True)}
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in delta.values()]))
        if not bool(norm > 0):  # all layers agree: Lambda is at its maximum, and eps is not defined
            return None
        eps = float(self.settings.epsilon / norm)
        sides = []
        for shift in (eps, -eps):
            shifted = arch_weights | {name: layered[name] + shift * delta[name] for name in delta}
            sides.append((yield Pass("weight", shifted, by_weights=range(len(weights)))).gradients)
        return torch._foreach_mul(torch._foreach_sub(*sides), -self._weight / (2 * eps))

    def _direction(self, gradients: Tensor) -> Tensor:
        """Returns dLambda/dg. It is 0 for layers without a gradient, which a sparse relaxation has cut off."""
        delta = torch.zeros_like(gradients)
        alive = gradients.flatten(1).norm(dim=1) > 0
        if int(alive.sum()) > 1:
            leaf = gradients[alive].requires_grad_()
            measure = correlation if self.settings.measure == "cosine" else sign_correlation
            (delta[alive],) = torch.autograd.grad(measure(leaf), leaf)
        return delta


def _mean_of_pairs(table: Tensor) -> Tensor:
    """Returns the mean of a symmetric `(layers, layers)` table above its diagonal."""
    first, second = torch.triu_indices(len(table), len(table), 1, device=table.device)
    return table[first, second].mean()


def correlation(gradients: Tensor) -> Tensor:
    """Returns the mean cosine over pairs of layers.

    `gradients` is `(layers, num_edges, num_ops)`. No layer's gradient may be 0.
    """
    flat = gradients.flatten(1)
    unit = flat / flat.norm(dim=1, keepdim=True)
    return _mean_of_pairs(unit @ unit.T)


def sign_correlation(gradients: Tensor) -> Tensor:
    """Returns the mean over pairs of layers of g_k . g_l / (|g_k| . |g_l|), the authors' `signcorr`.

    A pair without overlap counts as 0.
    """
    flat = gradients.flatten(1)
    size = flat.abs() @ flat.abs().T
    return _mean_of_pairs((flat @ flat.T) / torch.where(size > 0, size, 1.0))
