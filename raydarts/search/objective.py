"""The two losses of the bilevel problem, and the only place where losses and penalties are summed.

Estimators receive the whole objective and never a bare loss, so that none can drop a penalty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from raydarts.data.batches import Batch
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.relaxations.base import Relaxation
from raydarts.streams import Streams


@dataclass(frozen=True)
class Loss:
    """`value` is what is descended (penalties included); `data` the data loss alone; `correct` of `count` are right."""

    value: Tensor
    data: Tensor
    correct: Tensor
    count: int


class BilevelObjective(Protocol):
    """What an estimator needs to know: two losses of the same weights and alphas."""

    @property
    def weights(self) -> Sequence[Tensor]: ...

    @property
    def alphas(self) -> Sequence[Tensor]: ...

    def weight_loss(self, batch: Batch) -> Loss:
        """L_train(w, alpha), with what the weight side adds to it."""

    def alpha_loss(self, batch: Batch) -> Loss:
        """L_val(w, alpha), with every penalty on alpha."""

    def virtual(self) -> AbstractContextManager[None]:
        """Context in which passes leave no trace: batch-norm statistics and random draws are put back."""


class Objective:
    """The supernet's losses on image batches."""

    def __init__(
        self,
        supernet: nn.Module,
        alphas: dict[str, nn.Parameter],
        relaxation: Relaxation,
        regularizers: Sequence[Regularizer],
        streams: Streams,
    ) -> None:
        self.supernet = supernet
        self.alpha_by_type = alphas
        self.relaxation = relaxation
        self.regularizers = tuple(regularizers)
        self.streams = streams
        self.weights: list[Tensor] = list(supernet.parameters())
        self.alphas: list[Tensor] = list(alphas.values())
        self._norms = [module for module in supernet.modules() if isinstance(module, nn.BatchNorm2d)]

    def arch_weights(self) -> dict[str, Tensor]:
        """Arch weights by cell type, differentiable in alpha."""
        return {name: self.relaxation(alpha) for name, alpha in self.alpha_by_type.items()}

    def _data_loss(self, batch: Batch, arch_weights: dict[str, Tensor]) -> Loss:
        logits = self.supernet(batch.inputs, arch_weights)
        loss = nn.functional.cross_entropy(logits, batch.targets)
        correct = (logits.detach().argmax(1) == batch.targets).sum()
        return Loss(loss, loss.detach(), correct, len(batch.targets))

    def weight_loss(self, batch: Batch) -> Loss:
        return self._data_loss(batch, self.arch_weights())

    def perturbed_weight_loss(self, batch: Batch) -> Loss:
        """The loss of the weight step: as `weight_loss`, under the remedies' perturbations of the arch weights."""
        arch_weights = self.arch_weights()
        with ExitStack() as stack:
            for regularizer in self.regularizers:
                stack.enter_context(regularizer.perturb(arch_weights, (self, batch)))
            return self._data_loss(batch, arch_weights)

    def alpha_loss(self, batch: Batch) -> Loss:
        arch_weights = self.arch_weights()
        loss = self._data_loss(batch, arch_weights)
        value = loss.value
        for regularizer in self.regularizers:
            penalty = regularizer.penalty(self.alpha_by_type, arch_weights)
            if penalty is not None:
                value = value + penalty
        return replace(loss, value=value)

    @contextmanager
    def virtual(self) -> Iterator[None]:
        """Passes inside leave no trace.

        Batch-norm running statistics stay as they are (the authors' architect updates them at w, w+ and
        w-), and dropout draws the same masks in every `virtual` block of a step: a finite difference of
        two losses under unlike masks would be noise divided by 2 eps.
        """
        for norm in self._norms:
            norm.track_running_stats = False
        try:
            with self.streams.replayed("dropout"):
                yield
        finally:
            for norm in self._norms:
                norm.track_running_stats = True

    @torch.no_grad()
    def measure(self, batch: Batch) -> Loss:
        """Data loss and accuracy with the model in evaluation mode."""
        return self._data_loss(batch, self.arch_weights())
