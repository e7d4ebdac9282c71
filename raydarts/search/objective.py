"""The two losses of the bilevel problem, and the only place that adds losses and penalties.

Estimators receive the whole objective and never a bare loss. So no estimator can drop a penalty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raydarts.float32 import mixed
from raydarts.search.moments import Step
from raydarts.search.passes import Asking, alone
from raydarts.search.regularizers.base import Regularizer, perturbations
from raydarts.search.relaxations.base import Relaxation
from raydarts.spaces.transform import Mixed
from raydarts.streams import Streams
from raydarts.tasks import Batch, Loss, Task


class BilevelObjective(Protocol):
    """What an estimator needs: two losses of the same weights and alphas."""

    @property
    def weights(self) -> Sequence[Tensor]: ...

    @property
    def alphas(self) -> Sequence[Tensor]:
        """Everything that the alpha step trains: alpha and the remedies' further architecture parameters."""

    @property
    def frozen(self) -> frozenset[int]:
        """Positions of the weights that are not trained. The virtual step does not move them either."""

    @property
    def tied(self) -> frozenset[int]:
        """Positions of the weights that are token vectors and decoder at once."""

    def weight_loss(self, batch: Batch) -> Loss:
        """Returns L_train(w, alpha) with what the weight side adds to it."""

    def alpha_loss(self, batch: Batch) -> Loss:
        """Returns L_val(w, alpha) with every penalty on alpha."""

    def virtual(self) -> AbstractContextManager[None]:
        """Returns a context that restores batch-norm statistics and random draws on exit."""

    def replaying(self) -> AbstractContextManager[None]:
        """Returns a context that restores random draws on exit, and no batch-norm statistics."""

    def mixing(self) -> AbstractContextManager[None]:
        """Returns a context in which losses are computed in the type `search.amp`."""


def tied_weights(supernet: nn.Module, weights: Sequence[Tensor]) -> frozenset[int]:
    """Returns the positions of weights that are token vectors and decoder at once. `TIED` of a module names them."""
    tied = {id(getattr(module, name)) for module in supernet.modules() for name in getattr(module, "TIED", ())}
    return frozenset(position for position, weight in enumerate(weights) if id(weight) in tied)


class Modes(ABC):
    """The modes in which a supernet is measured: its own, or several lanes'."""

    supernet: nn.Module
    amp: str
    _mixing = False
    _norms: Sequence[_BatchNorm]

    @contextmanager
    def mixing(self) -> Iterator[None]:
        """Computes convolutions and linear layers of forward passes in the type `search.amp` inside the context.

        It is for the two losses that a step descends. What is measured, and passes that remedies ask for, are exact.
        """
        before, self._mixing = self._mixing, True
        try:
            yield
        finally:
            self._mixing = before

    def _mixed(self, batch: Batch) -> AbstractContextManager[object]:
        return mixed(batch.inputs.device, self.amp if self._mixing else "off")

    @abstractmethod
    def virtual(self) -> AbstractContextManager[None]:
        """See `BilevelObjective.virtual`."""

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Sets evaluation mode inside the context. Batch norms normalise by their running statistics."""
        self.supernet.eval()
        try:
            yield
        finally:
            self.supernet.train()

    @contextmanager
    def batch_statistics(self) -> Iterator[None]:
        """Sets evaluation mode inside the context, but batch norms use each batch's statistics. Their running
        statistics stay.

        It is for arch weights that the running statistics do not belong to.
        """
        self.supernet.eval()
        try:
            with self.virtual():
                for norm in self._norms:
                    norm.train()
                yield
        finally:
            self.supernet.train()


class Objective(Modes):
    """The supernet's losses on batches of its task.

    `arch_parameters` holds each remedy's further architecture parameters by name, each `(num_edges, ...)`.
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
        amp: str = "off",
    ) -> None:
        self.supernet = supernet
        self.task = task
        self.alpha_by_type = alphas
        self.relaxation = relaxation
        self.regularizers = tuple(regularizers)
        self.streams = streams
        self.arch_parameters = tuple(arch_parameters) or ({},) * len(self.regularizers)
        self.project = project
        self.amp = amp
        self.weights: list[Tensor] = list(supernet.parameters())
        self._fixed = frozenset(n for n, weight in enumerate(self.weights) if not weight.requires_grad)
        self.alphas: list[Tensor] = [
            *alphas.values(),
            *(p for parameters in self.arch_parameters for p in parameters.values()),
        ]
        self._norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
        self._virtual_seed = 0
        self._gathered: dict[str, Tensor] | None = None  # see `running_statistics_fit`
        self._perturbed = False
        for module in supernet.modules():
            if isinstance(module, Mixed):
                module.skips_zeros = relaxation.SPARSE

    @property
    def frozen(self) -> frozenset[int]:
        """Positions of weights that remedies have frozen or that a module holds fixed (`requires_grad` false)."""
        return self._fixed.union(*(regularizer.frozen() for regularizer in self.regularizers))

    @property
    def tied(self) -> frozenset[int]:
        """See `BilevelObjective.tied`."""
        return tied_weights(self.supernet, self.weights)

    def arch_weights(self, *, expected: bool = False) -> dict[str, Tensor]:
        """Returns the arch weights by cell type, differentiable in alpha.

        With `expected` nothing is drawn.
        """
        relax = self.relaxation.expected if expected else self.relaxation
        arch_weights = {name: relax(alpha) for name, alpha in self.alpha_by_type.items()}
        for regularizer, parameters in zip(self.regularizers, self.arch_parameters, strict=True):
            arch_weights = regularizer.on_arch_weights(arch_weights, parameters)
        return self.project(arch_weights)

    def data_loss(self, batch: Batch, arch_weights: Mapping[str, Tensor]) -> Loss:
        """Returns the task's loss of the supernet with these arch weights.

        Each cell type has a tensor `(num_edges, num_ops)` or `(layers of the type, num_edges, num_ops)`.
        """
        with self._mixed(batch):
            return self.task.loss(self.supernet, batch, arch_weights)

    def training_loss(self, batch: Batch, arch_weights: Mapping[str, Tensor]) -> Loss:
        """Returns the data loss plus what the supernet adds to the loss that weights descend."""
        loss = self.data_loss(batch, arch_weights)
        return loss if loss.penalty is None else replace(loss, value=loss.value + loss.penalty)

    def weight_loss(self, batch: Batch) -> Loss:
        return self.training_loss(batch, self.arch_weights())

    def perturbed_weight_loss(self, step: Step) -> Loss:
        """Returns the loss of the weight step: `weight_loss` under the remedies' perturbations of the arch weights."""
        with self.perturbed(step) as arch_weights, self.mixing():
            return self.training_loss(step.weight_batch, arch_weights)

    @contextmanager
    def perturbed(self, step: Step) -> Iterator[dict[str, Tensor]]:
        """Yields the arch weights of the weight step. The remedies' perturbations end with the context."""
        with ExitStack() as stack:
            arch_weights = self.arch_weights()
            for asking in self.perturbing(arch_weights, step, stack):
                alone(asking, step)
            yield arch_weights

    def perturbing(self, arch_weights: dict[str, Tensor], step: Step, stack: ExitStack) -> Iterator[Asking[None]]:
        """Lets the remedies change these arch weights of the weight step: see `perturbations`."""
        unperturbed = dict(arch_weights)
        self._gathered = {name: weights.detach() for name, weights in arch_weights.items()}
        yield from perturbations(self.regularizers, arch_weights, step, stack)
        self._perturbed |= any(arch_weights[name] is not weights for name, weights in unperturbed.items())

    def begin_epoch(self) -> None:
        """Starts an epoch. Its weight steps gather the running statistics that measuring uses."""
        self._gathered, self._perturbed = None, False

    @torch.no_grad()
    def running_statistics_fit(self) -> bool:
        """Returns whether the batch norms' running statistics belong to the arch weights that are measured.

        The weight steps of the epoch gather them. They belong to other arch weights in three cases: the relaxation
        draws (the expectation is measured), a remedy has perturbed a weight step, or a selection has changed the arch
        weights since the last one.
        """
        if self.relaxation.RANDOM or self._perturbed or self._gathered is None:
            return False
        now = self.arch_weights(expected=True)
        return all(torch.equal(weights, now[name]) for name, weights in self._gathered.items())

    def alpha_loss(self, batch: Batch) -> Loss:
        arch_weights = self.arch_weights()
        loss = self.data_loss(batch, arch_weights)
        value = loss.value
        for penalty in self.penalties(arch_weights):
            value = value + penalty
        return replace(loss, value=value)

    def penalties(self, arch_weights: dict[str, Tensor]) -> Iterator[Tensor]:
        """Yields what the remedies add to the loss that alpha descends."""
        seen = self.arch_weights(expected=True) if self.relaxation.RANDOM else arch_weights
        for regularizer in self.regularizers:
            penalty = regularizer.penalty(self.alpha_by_type, seen)
            if penalty is not None:
                yield penalty

    def begin_alpha_step(self) -> None:
        """Starts an alpha step. Its virtual passes share one draw of a random relaxation."""
        if self.relaxation.RANDOM:
            generator = self.streams["virtual"]
            self._virtual_seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))

    @contextmanager
    def virtual(self) -> Iterator[None]:
        """Restores everything that passes inside the context change.

        Batch-norm running statistics stay as they are. The authors' architect updates them at w, w+ and w-. Dropout and
        random relaxations draw the same in every `virtual` block of a step. Otherwise a finite difference of two losses
        would be noise divided by 2 eps.
        """
        with without_statistics(self._norms), self.replaying():
            yield

    @contextmanager
    def drawing(self, seed: int) -> Iterator[None]:
        """Inside, virtual passes of a random relaxation draw with this seed, and not with that of an alpha step."""
        before, self._virtual_seed = self._virtual_seed, seed
        try:
            yield
        finally:
            self._virtual_seed = before

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Draws the same in every such block of an alpha step, and restores the generators on exit."""
        relaxation_generator = self.relaxation.generator
        if self.relaxation.RANDOM:
            device = self.streams.device
            self.relaxation.generator = torch.Generator(device).manual_seed(self._virtual_seed)
        try:
            with self.streams.replayed("dropout"):
                yield
        finally:
            self.relaxation.generator = relaxation_generator

    @torch.no_grad()
    def measure(self, batch: Batch) -> Loss:
        """Returns the data loss in the module's current mode (training or evaluation). No relaxation draws."""
        return self.data_loss(batch, self.arch_weights(expected=True))


@contextmanager
def without_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Makes batch norms leave their running statistics as they are inside the context."""
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, was in zip(norms, tracked, strict=True):
            norm.track_running_stats = was
