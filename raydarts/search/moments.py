"""The position of a search, as hooks, probes and selections see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from raydarts.spaces import Genotype, Space
from raydarts.tasks import Batch

if TYPE_CHECKING:
    from raydarts.search.estimator_truth import Asked, Compared
    from raydarts.search.estimators.base import Estimator
    from raydarts.search.objective import Objective
    from raydarts.search.short_training import ShortTraining


@dataclass(frozen=True)
class SearchStage:
    """A part of a search with its own supernet (P-DARTS, DrNAS).

    `epochs` is its length. `layers` is the depth of its supernet (None: the space's). `candidates` is the number that
    each edge keeps: the strongest ones at the end of the stage before (None: all). With `keep_alpha` the kept
    candidates' alpha is carried over, and so are further architecture parameters whose shape does not change. Otherwise
    both are drawn again. Weights and both optimizers start again in each stage.
    """

    epochs: int
    layers: int | None = None
    candidates: int | None = None
    keep_alpha: bool = False


@dataclass(frozen=True)
class Tuning:
    """How the weights are trained while a selection decides: a new optimizer, and `lr` falling to `lr_min` along a
    cosine.

    `train_alpha` says whether alpha is trained too.
    """

    lr: float
    lr_min: float = 0.0
    train_alpha: bool = False


@dataclass(frozen=True)
class Moment:
    """An epoch of a search. All numbers start at 0.

    The epoch is `epoch` of `epochs`, and `stage_epoch` of `stage_epochs` in stage `stage`.
    """

    epoch: int
    epochs: int
    stage: int = 0
    stage_epoch: int = 0
    stage_epochs: int = 1

    @property
    def progress(self) -> float:
        """Returns epoch / (epochs - 1): 0 in the first epoch, 1 in the last."""
        return self.epoch / max(1, self.epochs - 1)


@dataclass(frozen=True)
class Step:
    """One step of Algorithm 1: the objective, its two batches, and the step's number in the epoch, from 0.

    `draw_alpha_batch` is called once, when `alpha_batch` is first read. So epochs in which nothing reads it draw none.
    """

    objective: Objective
    weight_batch: Batch
    draw_alpha_batch: Callable[[], Batch]
    number: int = 0

    @cached_property
    def alpha_batch(self) -> Batch:
        return self.draw_alpha_batch()


@dataclass(frozen=True)
class Stop:
    """A remedy's request to end the search or to return to an earlier epoch.

    `epoch` (from 1) is the epoch whose genotype is the result. None means the last one. If `go_on_with` is set, the
    search returns to the state at the end of that epoch. It continues with these optimizer settings replaced:
    `weight_decay`, `lr`, `arch_weight_decay`, `arch_lr`.
    """

    reason: str
    epoch: int | None = None
    go_on_with: Mapping[str, float] | None = None


@dataclass
class EpochReport:
    """A finished epoch, for probes and stopping rules.

    `measure_eigenvalue`, `measure_discretisation`, `train_shortly` and `measure_estimators` cost passes over data. They
    change nothing of the search, and draw from streams of their own. The last one gives the search's estimator to its
    argument, which says what is compared. `seconds` is the time that the epoch has taken so far.

    `epoch` starts at 1. `metrics` are those of this epoch so far. `genotypes` are those of all epochs up to this one.
    `arch_weights` are by cell type, and are the expected ones if the relaxation draws. `simplex` says whether the arch
    weights of an edge are a distribution.
    """

    epoch: int
    epochs: int
    space: Space
    arch_weights: Mapping[str, Tensor]
    metrics: Mapping[str, object]
    genotypes: Sequence[Genotype] = field(default_factory=tuple)
    measure_eigenvalue: Callable[[], float] | None = None
    simplex: bool = True
    seconds: float = 0.0
    measure_discretisation: Callable[[], float] | None = None
    train_shortly: Callable[[ShortTraining], float] | None = None
    measure_estimators: Callable[[Callable[[Estimator], Asked]], Compared] | None = None
    _eigenvalue: float | None = None

    @property
    def genotype(self) -> Genotype:
        """Returns this epoch's genotype."""
        return self.genotypes[-1]

    def dominant_eigenvalue(self) -> float:
        """Returns the largest eigenvalue of the alpha Hessian of L_val on a fixed alpha-batch (`search.hessian`).

        It is computed once for all callers.
        """
        if self._eigenvalue is None:
            if self.measure_eigenvalue is None:
                raise ValueError("this report knows no supernet")
            self._eigenvalue = self.measure_eigenvalue()
        return self._eigenvalue
