"""The hooks of a remedy against skip collapse. By default each hook does nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, TypedDict

import torch
from torch import Tensor

from raydarts.registry import Around, Idle, Member
from raydarts.search.moments import EpochReport, Moment, SearchStage, Step, Stop
from raydarts.search.passes import Asking, alone
from raydarts.spaces import Space
from raydarts.spaces.transform import MixedTransform
from raydarts.states import State
from raydarts.streams import Streams

if TYPE_CHECKING:
    from raydarts.search.objective import Objective

Alphas = Mapping[str, Tensor]


class EpochOverrides(TypedDict, total=False):
    """What a remedy changes in one epoch.

    - `train_alpha` false: alpha is not trained.
    - `cutout`: (length as a share of the image's shorter side, probability) for both halves, in place of `augment`'s.
    """

    train_alpha: bool
    cutout: tuple[float, float]


class Regularizer(Member):
    """A remedy against skip collapse (family `regularizer`). A trial can have any number of them.

    `OVERRIDES` names the settings that `optimizer_overrides` or `epoch_overrides` replaces. Two remedies that replace
    the same setting cannot be combined. Each hook says how several remedies compose.
    """

    REMEDY = True
    OVERRIDES: ClassVar[tuple[str, ...]] = ()
    KEEPS: ClassVar[tuple[str, ...]] = ()
    """Search settings that the remedy changes itself while the search goes on, so that nobody else may."""

    @property
    def from_zero(self) -> bool:
        """Whether the strength rises from 0 in the first epoch. Then it does nothing in a search of one epoch."""
        return False

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.from_zero and around.epochs == 1 and self.effective(self.settings) is not None:
            yield Idle("", "rises from 0 in the first epoch, and a search has 1 epoch; raise epochs, or leave it out")

    # Hooks before the first epoch.

    def check(self, space: Space, epochs: int) -> None:
        """Raises `InputError` if these settings make no sense in the space. Called when a spec is read."""

    def bind(self, streams: Streams) -> None:
        """Called once before all other hooks. A remedy that draws at random takes its stream here."""

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        """Returns search settings to replace, such as `weight_decay`.

        `asked` holds the settings that can be replaced. Two remedies that replace the same one are an error.
        """
        return {}

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        """Returns the stages that the search is cut into, or nothing. At most one remedy may cut the search."""
        return ()

    def check_stages(self, stages: Sequence[SearchStage]) -> None:
        """Raises `InputError` if these settings do not fit the search's stages. Called when a spec is read."""

    def on_stage_start(self, stage: int) -> None:
        """Called before the supernet of a stage (from 0) is built, also in a resumed search.

        The hooks below may return something else in each stage.
        """

    def transform(self) -> MixedTransform | None:
        """Returns changes to the mixed operations, which may add parameters. Several act in list order."""
        return None

    def arch_parameters(self, space: Space, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Returns further architecture parameters by name, at their initial values.

        Alpha's optimizer trains them together with alpha.
        """
        return {}

    def attach(self, space: Space, objective: Objective) -> None:
        """Called after a supernet has been built, once in each stage.

        `objective` holds the supernet. `space` is what this stage searches.
        """

    # Hooks in every step.

    def on_arch_weights(self, arch_weights: dict[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the changed arch weights, in every pass and for the selection. Several act in list order.

        Args:
            arch_weights: `(num_edges, num_ops)` by cell type.
            parameters: what `arch_parameters` returned.
        """
        return arch_weights

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        """Returns a scalar that is added to the loss that alpha descends, or None. Several are summed.

        Both arguments hold `(num_edges, num_ops)` by cell type. `arch_weights` are the expected ones if the relaxation
        draws at random.
        """
        return None

    @contextmanager
    def perturb(self, arch_weights: dict[str, Tensor], step: Step) -> Iterator[None]:
        """Changes the arch weights in the mapping for the weight step only. Several are nested, in list order.

        It must restore everything else that it changes: values, and the mode (training or evaluation) of modules.
        """
        alone(self.perturbing(arch_weights, step), step)
        yield

    def alpha_gradient(self, alphas: Alphas, step: Step) -> Mapping[str, Tensor] | None:
        """Returns terms to add to dL/dalpha, by cell type. Several are summed."""
        return None

    def weight_gradient(self, weights: Sequence[Tensor], step: Step) -> Sequence[Tensor] | None:
        """Returns terms to add to the weights' gradient before it is clipped, in the order of the weights. Several are
        summed.
        """
        return alone(self.weight_terms(weights, step), step)

    def watch(self, gradients: Sequence[Tensor], step: Step) -> None:
        """Receives the weights' gradient of the training loss, before terms are added and before it is clipped."""
        alone(self.watching(gradients, step), step)

    # The same three hooks for a remedy that asks for passes of the supernet (`search.passes`). A group of searches runs
    # the passes of its lanes together. Override either a hook or its form here.

    def perturbing(self, arch_weights: dict[str, Tensor], step: Step) -> Asking[None]:
        """Does what `perturb` does. It has nothing to restore."""
        return
        yield

    def weight_terms(self, weights: Sequence[Tensor], step: Step) -> Asking[Sequence[Tensor] | None]:
        """Does what `weight_gradient` does."""
        return None
        yield

    def watching(self, gradients: Sequence[Tensor], step: Step) -> Asking[None]:
        """Does what `watch` does."""
        return
        yield

    def frozen(self) -> frozenset[int]:
        """Returns positions of weights that are no longer trained, in the virtual step too.

        The positions of all remedies are united.
        """
        return frozenset()

    # Hooks at the start and end of an epoch.

    def on_epoch_start(self, now: Moment) -> None:
        """Receives the position of the search, for annealing. Called in list order."""

    def epoch_overrides(self, now: Moment) -> EpochOverrides:
        """Returns what this epoch changes.

        Alpha is not trained if one remedy says so. Two remedies that set `cutout` are an error.
        """
        return {}

    def remembers(self) -> int:
        """Number of past epochs that `should_stop` may return to. The search keeps their states."""
        return 0

    def should_stop(self, report: EpochReport) -> Stop | None:
        """Called after each epoch before the selection. The first remedy that stops wins."""
        return None

    def state_dict(self) -> State:
        """Returns everything that it remembers between epochs."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restores what `state_dict()` returned."""


def defines(regularizer: type[Regularizer], *hooks: str) -> bool:
    """Returns whether a class does anything in one of these hooks."""
    return any(getattr(regularizer, hook) is not getattr(Regularizer, hook) for hook in hooks)


def asks(regularizer: type[Regularizer]) -> bool:
    """Returns whether a class asks for passes."""
    return defines(regularizer, "perturbing", "weight_terms", "watching")


def perturbations(
    regularizers: Sequence[Regularizer], arch_weights: dict[str, Tensor], step: Step, stack: ExitStack
) -> Iterator[Asking[None]]:
    """Lets each remedy change the arch weights of the weight step. What they restore is restored by the stack.

    Each generator that it yields is to be run before the next one.
    """
    for regularizer in regularizers:
        if defines(type(regularizer), "perturb"):
            stack.enter_context(regularizer.perturb(arch_weights, step))
        else:
            yield regularizer.perturbing(arch_weights, step)


def with_terms(
    regularizers: Sequence[Regularizer], weights: Sequence[Tensor], gradients: list[Tensor], step: Step
) -> Iterator[Asking[None]]:
    """Shows the weights' gradient to each remedy, then adds each one's terms to the list `gradients`.

    Each generator that it yields is to be run before the next one.
    """
    for regularizer in regularizers:
        if defines(type(regularizer), "watch"):
            regularizer.watch(gradients, step)
        else:
            yield regularizer.watching(gradients, step)
    for regularizer in regularizers:
        if defines(type(regularizer), "weight_gradient"):
            _add(gradients, regularizer.weight_gradient(weights, step))
        else:
            yield _with_term(regularizer, weights, gradients, step)


def _with_term(
    regularizer: Regularizer, weights: Sequence[Tensor], gradients: list[Tensor], step: Step
) -> Asking[None]:
    _add(gradients, (yield from regularizer.weight_terms(weights, step)))


def _add(gradients: list[Tensor], extra: Sequence[Tensor] | None) -> None:
    if extra is not None:
        gradients[:] = torch._foreach_add(gradients, list(extra))
