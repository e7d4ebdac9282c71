"""The two losses of the bilevel problem, and the only place where losses and penalties are summed.

Estimators receive the whole objective and never a bare loss, so that none can drop a penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raydarts.search.moments import Step
from raydarts.search.regularizers.base import Regularizer
from raydarts.search.relaxations.base import Relaxation
from raydarts.spaces.transform import Mixed
from raydarts.streams import Streams
from raydarts.tasks import Batch, Loss, Task


class BilevelObjective(Protocol):
    """What an estimator needs to know: two losses of the same weights and alphas."""

    @property
    def weights(self) -> Sequence[Tensor]: ...

    @property
    def alphas(self) -> Sequence[Tensor]:
        """All that the alpha step learns: alpha, and the remedies' further architecture parameters."""

    @property
    def frozen(self) -> frozenset[int]:
        """Positions of the weights that do not learn: they stay in the virtual step too."""

    def weight_loss(self, batch: Batch) -> Loss:
        """L_train(w, alpha), with what the weight side adds to it."""

    def alpha_loss(self, batch: Batch) -> Loss:
        """L_val(w, alpha), with every penalty on alpha."""

    def virtual(self) -> AbstractContextManager[None]:
        """Context in which passes leave no trace: batch-norm statistics and random draws are put back."""


class Objective:
    """The supernet's losses on batches of its task.

    `arch_parameters`: for each remedy its further architecture parameters, `(num_edges, ...)` by name.
    """

    def __init__(
        self,
        supernet: nn.Module,
        task: Task,
        alphas: dict[str, nn.Parameter],
        relaxation: Relaxation,
        regularizers: Sequence[Regularizer],
        streams: Streams,
        arch_parameters: Sequence[Mapping[str, nn.Parameter]] = (),
        project: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    ) -> None:
        self.supernet = supernet
        self.task = task
        self.alpha_by_type = alphas
        self.relaxation = relaxation
        self.regularizers = tuple(regularizers)
        self.streams = streams
        self.arch_parameters = tuple(arch_parameters) or ({},) * len(self.regularizers)
        self.project = project
        self.weights: list[Tensor] = list(supernet.parameters())
        self._fixed = frozenset(n for n, weight in enumerate(self.weights) if not weight.requires_grad)
        self.alphas: list[Tensor] = [*alphas.values(), *(p for own in self.arch_parameters for p in own.values())]
        self._norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
        self._virtual_seed = 0
        self._gathered: dict[str, Tensor] | None = None  # see `running_statistics_fit`
        self._perturbed = False
        for module in supernet.modules():
            if isinstance(module, Mixed):
                module.skips_zeros = relaxation.SPARSE

    @property
    def frozen(self) -> frozenset[int]:
        """Those that remedies have frozen, and those that a module holds fixed (`requires_grad` false)."""
        return self._fixed.union(*(regularizer.frozen() for regularizer in self.regularizers))

    def arch_weights(self, *, expected: bool = False) -> dict[str, Tensor]:
        """Arch weights by cell type, differentiable in alpha; `expected`: nothing is drawn."""
        relax = self.relaxation.expected if expected else self.relaxation
        found = {name: relax(alpha) for name, alpha in self.alpha_by_type.items()}
        for regularizer, own in zip(self.regularizers, self.arch_parameters, strict=True):
            found = regularizer.on_arch_weights(found, own)
        return self.project(found)

    def data_loss(self, batch: Batch, arch_weights: Mapping[str, Tensor]) -> Loss:
        """The task's loss of the supernet with these arch weights: `(num_edges, num_ops)` for each cell type,
        or `(layers of the type, num_edges, num_ops)`.
        """
        return self.task.loss(self.supernet, batch, arch_weights)

    def training_loss(self, batch: Batch, arch_weights: Mapping[str, Tensor]) -> Loss:
        """The data loss and what the supernet adds to it where weights learn from it."""
        loss = self.data_loss(batch, arch_weights)
        return loss if loss.penalty is None else replace(loss, value=loss.value + loss.penalty)

    def weight_loss(self, batch: Batch) -> Loss:
        return self.training_loss(batch, self.arch_weights())

    def perturbed_weight_loss(self, step: Step) -> Loss:
        """The loss of the weight step: as `weight_loss`, under the remedies' perturbations of the arch weights."""
        arch_weights = self.arch_weights()
        unperturbed = dict(arch_weights)
        self._gathered = {name: weights.detach() for name, weights in arch_weights.items()}
        with ExitStack() as stack:
            for regularizer in self.regularizers:
                stack.enter_context(regularizer.perturb(arch_weights, step))
            self._perturbed |= any(arch_weights[name] is not weights for name, weights in unperturbed.items())
            return self.training_loss(step.weight_batch, arch_weights)

    def begin_epoch(self) -> None:
        """The weight steps that follow gather the running statistics that this epoch is measured with."""
        self._gathered, self._perturbed = None, False

    @torch.no_grad()
    def running_statistics_fit(self) -> bool:
        """Whether the batch norms' running statistics were gathered under the arch weights that are measured with.

        The weight steps of the epoch gather them. They are another network's where the relaxation draws (measured is
        the expectation), where a remedy has perturbed a weight step, or where the arch weights have changed since the
        last one (a selection has decided).
        """
        if self.relaxation.RANDOM or self._perturbed or self._gathered is None:
            return False
        now = self.arch_weights(expected=True)
        return all(torch.equal(weights, now[name]) for name, weights in self._gathered.items())

    def alpha_loss(self, batch: Batch) -> Loss:
        arch_weights = self.arch_weights()
        loss = self.data_loss(batch, arch_weights)
        value = loss.value
        seen = self.arch_weights(expected=True) if self.relaxation.RANDOM else arch_weights
        for regularizer in self.regularizers:
            penalty = regularizer.penalty(self.alpha_by_type, seen)
            if penalty is not None:
                value = value + penalty
        return replace(loss, value=value)

    def begin_alpha_step(self) -> None:
        """The virtual passes of this step share one draw of a random relaxation; the next step has another."""
        if self.relaxation.RANDOM:
            generator = self.streams["virtual"]
            self._virtual_seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))

    @contextmanager
    def virtual(self) -> Iterator[None]:
        """Passes inside leave no trace.

        Batch-norm running statistics stay as they are (the authors' architect updates them at w, w+ and
        w-), and dropout and random relaxations draw the same in every `virtual` block of a step: a finite
        difference of two losses under unlike draws would be noise divided by 2 eps.
        """
        tracked = [norm.track_running_stats for norm in self._norms]
        for norm in self._norms:
            norm.track_running_stats = False
        own = self.relaxation.generator
        if self.relaxation.RANDOM:
            device = self.streams.device
            self.relaxation.generator = torch.Generator(device).manual_seed(self._virtual_seed)
        try:
            with self.streams.replayed("dropout"):
                yield
        finally:
            self.relaxation.generator = own
            for norm, was in zip(self._norms, tracked, strict=True):
                norm.track_running_stats = was

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode: batch norms normalise by their running statistics."""
        self.supernet.eval()
        try:
            yield
        finally:
            self.supernet.train()

    @contextmanager
    def batch_statistics(self) -> Iterator[None]:
        """Evaluation mode, but batch norms normalise by each batch's own statistics; no trace is left.

        For arch weights other than those that the running statistics were gathered under.
        """
        self.supernet.eval()
        try:
            with self.virtual():
                for norm in self._norms:
                    norm.train()
                yield
        finally:
            self.supernet.train()

    @torch.no_grad()
    def measure(self, batch: Batch) -> Loss:
        """The data loss as the module stands (training or evaluation mode); no relaxation draws."""
        return self.data_loss(batch, self.arch_weights(expected=True))
