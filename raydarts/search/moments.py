"""Where a search stands: what hooks, probes and selections are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from raydarts.spaces import Genotype, Space
from raydarts.tasks import Batch


@dataclass(frozen=True)
class SearchStage:
    """A stretch of a search with a supernet of its own (P-DARTS, DrNAS).

    `epochs` it lasts; `layers` of its supernet (None: the space's); `candidates` that each edge keeps, the
    strongest at the end of the stage before (None: all it had); `keep_alpha`: the alpha of the kept
    candidates is taken over, and further architecture parameters whose shape is as before; else both are drawn
    anew. Weights and both optimizers begin anew.
    """

    epochs: int
    layers: int | None = None
    candidates: int | None = None
    keep_alpha: bool = False


@dataclass(frozen=True)
class Tuning:
    """How the weights train while a selection decides: a fresh optimizer, `lr` falling along a cosine to `lr_min`.

    `train_alpha`: whether alpha goes on learning too.
    """

    lr: float
    lr_min: float = 0.0
    train_alpha: bool = False


@dataclass(frozen=True)
class Moment:
    """An epoch of a search: `epoch` of `epochs`, and `stage_epoch` of `stage_epochs` in stage `stage`; all from 0."""

    epoch: int
    epochs: int
    stage: int = 0
    stage_epoch: int = 0
    stage_epochs: int = 1

    @property
    def progress(self) -> float:
        """From 0 in the first epoch to 1 in the last: epoch / (epochs - 1)."""
        return self.epoch / max(1, self.epochs - 1)


@dataclass(frozen=True)
class Step:
    """One step of Algorithm 1: the objective, its two batches, and its number in the epoch, from 0."""

    objective: Any
    weight_batch: Batch
    alpha_batch: Batch
    number: int = 0


@dataclass(frozen=True)
class Stop:
    """The search ends, or goes back.

    `epoch` (1-based) is the one whose genotype is the result; None: the last one. With `go_on_with` the
    search returns to the state at the end of that epoch and goes on with these settings of the
    optimizers replaced (`weight_decay`, `lr`, `arch_weight_decay`, `arch_lr`).
    """

    reason: str
    epoch: int | None = None
    go_on_with: Mapping[str, float] | None = None


@dataclass
class EpochReport:
    """A finished epoch: what probes measure and stopping rules look at.

    `epoch` from 1; `metrics` so far; `genotypes` of all epochs up to this one; `arch_weights` by cell type, the
    expected ones where the relaxation draws; `simplex`: an edge's are a distribution, else each is for itself.
    """

    epoch: int
    epochs: int
    space: Space
    arch_weights: Mapping[str, Tensor]
    metrics: Mapping[str, Any]
    genotypes: Sequence[Genotype] = field(default_factory=tuple)
    measure_eigenvalue: Callable[[], float] | None = None
    simplex: bool = True
    _eigenvalue: float | None = None

    @property
    def genotype(self) -> Genotype:
        """This epoch's."""
        return self.genotypes[-1]

    def dominant_eigenvalue(self) -> float:
        """Of the alpha Hessian of L_val on a fixed alpha-batch; computed once, however many ask (`search.hessian`)."""
        if self._eigenvalue is None:
            if self.measure_eigenvalue is None:
                raise ValueError("this report knows no supernet")
            self._eigenvalue = self.measure_eigenvalue()
        return self._eigenvalue
