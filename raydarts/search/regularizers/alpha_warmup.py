"""Trains weights first and alpha later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from raydarts import registry
from raydarts.errors import InputError
from raydarts.registry import Around, Idle
from raydarts.search.moments import Moment, SearchStage
from raydarts.search.regularizers.base import EpochOverrides, Regularizer
from raydarts.spaces import Space
from raydarts.units import Epochs


class AlphaWarmup(Regularizer):
    """Does not train alpha in the first epochs, so that candidates with weights are trained before they are judged.

    With `each_stage` this happens at the start of every stage. A search has several stages if another remedy cuts it.
    """

    NAME = "alpha_warmup"
    LANES = True
    SOURCE = (
        "PC-DARTS (arXiv 1907.05737), section 4.2: 15 epochs; "
        "P-DARTS (arXiv 1904.12760) and DrNAS (arXiv 2006.10355): 10 in each stage"
    )
    FORMULA = "alpha is not stepped in epochs 0 to epochs - 1 (of each stage)"
    DIFFERS = (
        "By default PC-DARTS' 15 epochs on CIFAR (35 of 50 on ImageNet); 10 are P-DARTS' and DrNAS' in each stage."
    )
    NEUTRAL = {"epochs": 0}
    # The default is longer than two epochs. That is refused, because alpha would never learn.
    CONTRACT: ClassVar[Mapping[str, object]] = {"epochs": 1}

    class Settings(registry.Settings):
        epochs: Epochs = Field(15, ge=0, description="Epochs in which alpha is not trained.")
        each_stage: bool = Field(
            True,
            description="Whether alpha rests at the start of every stage of the search, or only at the start of "
            "the first.",
        )

    def check(self, space: Space, epochs: int) -> None:
        if self.settings.epochs and self.settings.epochs >= epochs:
            raise InputError(
                f"epochs: alpha would rest for {self.settings.epochs} epochs of a search of {epochs} and never learn; "
                f"rest for {epochs - 1} at most"
            )

    def check_stages(self, stages: Sequence[SearchStage]) -> None:
        longest = max(stage.epochs for stage in stages)
        if self.settings.each_stage and len(stages) > 1 and self.settings.epochs >= longest:
            raise InputError(
                f"alpha_warmup: alpha would rest for {self.settings.epochs} epochs of each stage, the longest of which "
                f"has {longest}, and never learn; rest for {longest - 1} at most, or write each_stage: false"
            )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.settings.written("each_stage") and around.stretch == around.epochs:
            yield Idle("each_stage", "is for a search in stages, and this has one; leave it out")

    def epoch_overrides(self, now: Moment) -> EpochOverrides:
        epoch = now.stage_epoch if self.settings.each_stage else now.epoch
        return {"train_alpha": False} if epoch < self.settings.epochs else {}
