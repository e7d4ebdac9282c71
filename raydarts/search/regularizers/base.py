"""The hooks of a remedy against skip collapse; each is a no-op by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from raydarts.registry import Member
from raydarts.spaces import Genotype
from raydarts.spaces.transform import MixedTransform
from raydarts.streams import Streams

Alphas = Mapping[str, Tensor]


@dataclass(frozen=True)
class Stop:
    """An early stop: why, and the epoch (1-based) whose genotype is the result (None: the last one)."""

    reason: str
    epoch: int | None = None


@dataclass
class EpochReport:
    """What a stopping rule may look at: the finished epoch, its metrics, and the genotypes so far."""

    epoch: int
    metrics: Mapping[str, Any]
    genotypes: Sequence[Genotype] = field(default_factory=tuple)


class Regularizer(Member):
    """A remedy against skip collapse (family `regularizer`); any number act in one trial.

    How several compose: optimizer overrides must not conflict; transforms act in list order;
    penalties and gradient terms are summed; perturbations nest; the first stop wins.
    `OVERRIDES` names the search settings that `optimizer_overrides` replaces.
    """

    OVERRIDES: ClassVar[tuple[str, ...]] = ()

    def bind(self, streams: Streams) -> None:
        """Called once before anything else; whoever draws at random takes a stream of its own."""

    def optimizer_overrides(self, asked: Mapping[str, float]) -> dict[str, float]:
        """Search settings to replace, such as `weight_decay`; `asked` holds the ones named in `OVERRIDES`."""
        return {}

    def transform(self) -> MixedTransform | None:
        """Changes to what mixed operations compute (it may add parameters)."""
        return None

    def penalty(self, alphas: Alphas, arch_weights: Alphas) -> Tensor | None:
        """A scalar added to the loss that alpha descends; `(num_edges, num_ops)` tensors by cell type."""
        return None

    @contextmanager
    def perturb(self, arch_weights: dict[str, Tensor], step: Any) -> Iterator[None]:
        """Change the arch weights (in the mapping) for the weight step alone; must restore what else it touches."""
        yield

    def alpha_gradient(self, alphas: Alphas, step: Any) -> Mapping[str, Tensor] | None:
        """Terms added to dL/dalpha, by cell type."""
        return None

    def weight_gradient(self, weights: Sequence[Tensor], step: Any) -> Sequence[Tensor] | None:
        """Terms added to the weights' gradient, in the order of the weights."""
        return None

    def on_epoch_start(self, epoch: int, progress: float) -> None:
        """`epoch` from 0; `progress` in [0, 1] is epoch / (epochs - 1)."""

    def should_stop(self, report: EpochReport) -> Stop | None:
        """Asked after each epoch."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """All that it remembers between epochs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up from `state_dict()`."""
