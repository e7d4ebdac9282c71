"""Dropout on skip connections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.moments import Moment, SearchStage
from raydarts.search.objective import Objective
from raydarts.search.regularizers.base import Regularizer
from raydarts.spaces import Space
from raydarts.spaces.drawn import draw_each
from raydarts.spaces.transform import MixedEdge, MixedTransform
from raydarts.states import State
from raydarts.streams import Streams
from raydarts.units import Epochs

Rate = Annotated[float, Field(ge=0, lt=1)]


class _DropSkips(MixedTransform):
    """Drops single values of the output of skip connections and scales kept values by 1 / (1 - p)."""

    LANES = True

    def __init__(self, strided: bool) -> None:
        self.strided = strided
        self.skip = Space.SKIP
        self.probability = 0.0
        self.generator: torch.Generator | None = None

    def on_operation(self, output: Tensor, edge: MixedEdge, primitive: str, *, training: bool) -> Tensor:
        if not training or not self.changes(edge, primitive):
            return output
        return output * self.mask(torch.empty_like(output))

    @classmethod
    def fused(cls, transforms: Sequence[_DropSkips]) -> MixedTransform:
        return _DropSkipsOfLanes(transforms)

    def changes(self, edge: MixedEdge, primitive: str) -> bool:
        return self.probability > 0.0 and primitive == self.skip and (edge.stride == 1 or self.strided)

    def mask(self, empty: Tensor) -> Tensor:
        """Returns a scaled mask of this shape."""
        keep = 1.0 - self.probability
        return empty.bernoulli_(keep, generator=self.generator).div_(keep)


class _DropSkipsOfLanes(MixedTransform):
    """Drops values of the skip connections of several lanes. Each lane has its own rate and draws its own masks."""

    def __init__(self, transforms: Sequence[_DropSkips]) -> None:
        self.transforms = transforms

    def changes(self, edge: MixedEdge, primitive: str) -> bool:
        return any(transform.changes(edge, primitive) for transform in self.transforms)

    def on_operation(self, output: Tensor, edge: MixedEdge, primitive: str, *, training: bool) -> Tensor:
        acting = [transform.changes(edge, primitive) for transform in self.transforms]
        if not training or not any(acting):
            return output

        def mask(lane: int, empty: Tensor) -> Tensor:
            return self.transforms[lane].mask(empty) if acting[lane] else empty.fill_(1.0)

        return output * draw_each(output, edge.lanes, mask)


class SkipDropout(Regularizer):
    """Dropout on the output of the skip connections in mixed operations. Its rate falls within each stage.

    In epoch e (from 0) of a stage of E epochs the rate is rate * (E - e - 1) / E while e < `warmup_epochs`. Then it is
    rate * exp(-`decay` * (e - warmup_epochs)). In P-DARTS the warm-up epochs are those in which alpha is not trained:
    give `alpha_warmup` the same number. `rate` is a number, or a list with one number for each stage of the search.
    With `strided`, skip connections of stride 2 are dropped too.
    """

    NAME = "skip_dropout"
    LANES = True
    SOURCE = "P-DARTS (Chen et al. 2019, arXiv 1904.12760), section 3.3"
    NEUTRAL = {"rate": 0.0}
    FORMULA = "skip(x) := dropout(skip(x), p), p = rate * (E - e - 1) / E for e < 10, then rate * exp(-0.2 (e - 10))"
    DIFFERS = (
        "Rates of the three stages: paper 0, 0.4, 0.7 (CIFAR-10) and 0.1, 0.2, 0.3 (CIFAR-100); authors' README 0.1, "
        "0.4, 0.7 for both; their code's default 0, 0, 0. Ours is the middle stage's 0.4, for searches without stages. "
        "The paper names no formula for the decay; ours is the code's, and so is leaving skips of stride 2 alone."
    )

    class Settings(registry.Settings):
        rate: Rate | tuple[Rate, ...] = Field(
            0.4, description="Dropout rate at a stage's start. A list has one rate for each stage of the search."
        )
        warmup_epochs: Epochs = Field(
            10, ge=0, description="Epochs of each stage in which the rate falls linearly. Then it falls exponentially."
        )
        decay: float = Field(
            0.2, ge=0, description="How fast the rate falls after the warm-up: exp(-decay) each epoch."
        )
        strided: bool = Field(False, description="Whether skip connections of stride 2 are dropped too.")

        def may_change(self) -> tuple[str, ...]:
            return ("rate", "decay")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._drop = _DropSkips(settings.strided)  # type: ignore[attr-defined]

    def _rate(self, stage: int) -> float:
        rate: float | tuple[float, ...] = self.settings.rate
        return rate[stage] if isinstance(rate, tuple) else rate

    @property
    def _acts(self) -> bool:
        rate: float | tuple[float, ...] = self.settings.rate
        return any(rate) if isinstance(rate, tuple) else rate > 0

    def check(self, space: Space, epochs: int) -> None:
        primitives = {primitive for cell in space.cells.values() for row in cell.candidates for primitive in row}
        if self._acts and space.SKIP not in primitives:
            raise InputError(
                f"space {space.registered} has no {space.SKIP} to drop; leave skip_dropout out or set rate: 0"
            )

    def check_stages(self, stages: Sequence[SearchStage]) -> None:
        if isinstance(self.settings.rate, tuple) and len(self.settings.rate) != len(stages):
            raise InputError(
                f"skip_dropout: rate has {len(self.settings.rate)} values and the search {len(stages)} stages; "
                "give one for each stage, or a single number"
            )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        rate: float | tuple[float, ...] = self.settings.rate
        if isinstance(rate, tuple) and not self._acts:
            yield Idle("rate", "is 0 in every stage; leave skip_dropout out, or write a rate above 0")
        if self._acts and around.epochs == 1 and self.settings.warmup_epochs > 0:
            yield Idle(
                "", "falls to 0 over its warm-up, and a search has 1 epoch; raise epochs, or write warmup_epochs: 0"
            )

    def bind(self, streams: Streams) -> None:
        self._drop.generator = streams["dropout"]

    def transform(self) -> MixedTransform | None:
        return self._drop if self._acts else None

    def attach(self, space: Space, objective: Objective) -> None:
        self._drop.skip = space.SKIP

    def on_epoch_start(self, now: Moment) -> None:
        rate, epoch, warmup = self._rate(now.stage), now.stage_epoch, self.settings.warmup_epochs
        if epoch < warmup:
            self._drop.probability = rate * (now.stage_epochs - epoch - 1) / now.stage_epochs
        else:
            self._drop.probability = rate * math.exp(-self.settings.decay * (epoch - warmup))

    def state_dict(self) -> State:
        return {"probability": self._drop.probability}  # no epoch starts while a selection decides

    def load_state_dict(self, state: State) -> None:
        self._drop.probability = state["probability"]
