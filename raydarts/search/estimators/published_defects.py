"""Second order with the defects of published code, to measure what they do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from raydarts.registry import Around, Idle
from raydarts.search.estimators.finite_difference import FiniteDifference
from raydarts.search.objective import BilevelObjective
from raydarts.search.weights import Number, Vector, WeightVector


class PublishedDefects(FiniteDifference):
    """`finite_difference` with defects of published code, each switched on by itself. It is for comparisons only.

    Without any defect it gives the same bits as `finite_difference`. At xi 0 it is first order, and no defect acts.

    It does not run in lanes, because a defect would act on all lanes or on none.
    """

    NAME = "published_defects"
    KEEPS = "pass"
    SOURCE = (
        "pt.darts (khanrc), architect.py: `/ 2.*eps`; the DARTS authors' rnn/architect.py: the tied decoder's old "
        "weight overwrites the new one; the authors' cnn/architect.py: passes in training mode"
    )

    class Settings(FiniteDifference.Settings):
        epsilon_multiplied: bool = Field(
            False,
            description="Whether (g+ - g-) / 2 is multiplied by eps. It must be divided by eps. The second term is "
            "then too small by a factor of eps^2.",
        )
        embedding_frozen: bool = Field(
            False,
            description="Whether token vectors that the decoder shares stay at w in the virtual step. dL_val/dw' is "
            "still taken by them, and w+ and w- still move them.",
        )
        statistics_updated: bool = Field(
            False,
            description="Whether the passes of L_train at w, w+ and w- update the running statistics of batch norms.",
        )

    DEFECTS = ("epsilon_multiplied", "embedding_frozen", "statistics_updated")

    @classmethod
    def effective(cls, settings: BaseModel) -> dict[str, object] | None:
        """Returns `finite_difference` without any defect, and `first_order` if xi is 0."""
        plain = super().effective(settings)
        if plain is None or plain == cls.FIRST_ORDER or any(plain[defect] for defect in cls.DEFECTS):
            return plain
        kept = {key: value for key, value in plain.items() if key not in cls.DEFECTS}
        return {**kept, "name": FiniteDifference.NAME}

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        defects = [defect for defect in self.DEFECTS if getattr(self.settings, defect)]
        if not defects:
            yield Idle("", "has no defect switched on; write finite_difference, or switch one on")
        task = getattr(around.section.space.member, "TASK", None)
        if self.settings.embedding_frozen and getattr(task, "KIND", "text") != "text":
            yield Idle("embedding_frozen", "is for text: a network of images has no token vectors; leave it out")

    def training_pass(self, objective: BilevelObjective) -> AbstractContextManager[None]:
        return objective.replaying() if self.settings.statistics_updated else super().training_pass(objective)

    def direction(self, objective: BilevelObjective, w: WeightVector, gradients: Vector, coefficient: Number) -> Vector:
        direction = super().direction(objective, w, gradients, coefficient)
        if not self.settings.embedding_frozen:
            return direction
        tied = objective.tied
        return [torch.zeros_like(part) if position in tied else part for position, part in enumerate(direction)]

    def second_term(self, difference: Tensor, scale: Number, eps: Number) -> Tensor:
        if self.settings.epsilon_multiplied:
            return scale * (difference / 2.0 * eps)
        return super().second_term(difference, scale, eps)
