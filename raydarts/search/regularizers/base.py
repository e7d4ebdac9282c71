"""The hooks of a remedy against skip collapse; each is a no-op by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from raydarts.registry import Around, Idle, Member
from raydarts.search.moments import EpochReport, Moment, SearchStage, Step, Stop
from raydarts.spaces import Space
from raydarts.spaces.transform import MixedTransform
from raydarts.streams import Streams

Alphas = Mapping[str, Tensor]


class Regularizer(Member):
    """A remedy against skip collapse (family `regularizer`); any number act in one trial.

    `OVERRIDES` names the settings that `optimizer_overrides` or `epoch_overrides` replaces: two remedies
    that replace the same one refuse each other. How the other hooks compose stands beside each.
    """

    REMEDY = True
    OVERRIDES: ClassVar[tuple[str, ...]] = ()

    @property
    def from_zero(self) -> bool:
        """Whether its strength rises from 0 in the first epoch, so that a search of one epoch has nothing of it."""
        return False

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.from_zero and around.epochs == 1 and self.effective(self.settings) is not None:
            yield Idle("", "rises from 0 in the first epoch, and a search has 1 epoch; raise epochs, or leave it out")

    # What is asked before the first epoch.

    def check(self, space: Space, epochs: int) -> None:
        """Raise `InputError` where these settings make no sense in the space. Asked when a spec is read."""

    def bind(self, streams: Streams) -> None:
        """Called once before anything else; whoever draws at random takes a stream of its own."""

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        """Search settings to replace, such as `weight_decay`; `asked` holds those there are. A conflict is an error."""
        return {}

    def stages(self, epochs: int) -> tuple[SearchStage, ...]:
        """Cut the search into stages with supernets of their own; one remedy at most may. Empty: it does not."""
        return ()

    def check_stages(self, stages: Sequence[SearchStage]) -> None:
        """Raise `InputError` where these settings do not fit the search's stages. Asked when a spec is read."""

    def on_stage_start(self, stage: int) -> None:
        """Before the supernet of a stage, from 0, is built, in a resumed search too: what is asked below may differ."""

    def transform(self) -> MixedTransform | None:
        """Changes to what mixed operations compute (it may add parameters). Several act in list order."""
        return None

    def arch_parameters(self, space: Space, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Further architecture parameters by name, at their initial values; learned with alpha by alpha's optimizer."""
        return {}

    def attach(self, space: Space, objective: Any) -> None:
        """The supernet has been built (anew at each stage): `objective` holds it, `space` is what it searches now."""

    # What acts in every step.

    def on_arch_weights(self, arch_weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arch weights, changed, in every pass and for the selection; `own`: its `arch_parameters`. List order."""
        return arch_weights

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        """A scalar added to the loss that alpha descends; `(num_edges, num_ops)` tensors by cell type. Summed.

        `arch_weights` are the expected ones where the relaxation draws at random.
        """
        return None

    @contextmanager
    def perturb(self, arch_weights: dict[str, Tensor], step: Step) -> Iterator[None]:
        """Change the arch weights (in the mapping) for the weight step alone. Nested, in list order.

        Must restore what else it touches: values, and whether modules train or evaluate.
        """
        yield

    def alpha_gradient(self, alphas: Alphas, step: Step) -> Mapping[str, Tensor] | None:
        """Terms added to dL/dalpha, by cell type. Summed."""
        return None

    def weight_gradient(self, weights: Sequence[Tensor], step: Step) -> Sequence[Tensor] | None:
        """Terms added to the weights' gradient, in the order of the weights, before it is clipped. Summed."""
        return None

    def watch(self, gradients: Sequence[Tensor], step: Step) -> None:
        """Shown the weights' gradient of the training loss, before terms are added and before it is clipped."""

    def frozen(self) -> frozenset[int]:
        """Positions of the weights that learn no more, in the virtual step either. The union of all remedies'."""
        return frozenset()

    # What acts at an epoch's start and end.

    def on_epoch_start(self, now: Moment) -> None:
        """Where the search stands: every annealing looks at it. In list order."""

    def epoch_overrides(self, now: Moment) -> dict[str, Any]:
        """What this epoch does otherwise: `train_alpha` false (alpha rests where any remedy says so),
        `cutout` a pair (length as a share of the image's shorter side, probability) for both halves, in the
        place of `augment`'s (a conflict is an error).
        """
        return {}

    def remembers(self) -> int:
        """For how many epochs back `should_stop` may ask to return and go on; the search keeps their states."""
        return 0

    def should_stop(self, report: EpochReport) -> Stop | None:
        """Asked after each epoch of the search proper; the first remedy that stops wins."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers between epochs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up from `state_dict()`."""
