"""GDAS' relaxation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.moments import Moment
from raydarts.search.relaxations.base import Relaxation


class Gumbel(Relaxation):
    """Draws one candidate for each edge from softmax(alpha) in each pass, with the gradient of its Gumbel-softmax.

    g = -log(e) with e ~ Exp(1) for each entry of alpha. p = softmax((log_softmax(alpha) + g) / tau). The forward pass
    uses the one-hot vector of the largest p, exactly 0 and 1. The backward pass uses p. The supernet leaves out the
    candidates at 0, so a pass costs one candidate for each edge, and only the drawn candidate's gradient of p is used.
    `tau` changes linearly from `tau_start` in the first epoch to `tau_end` in the last. With `hard` false the arch
    weights are p and all candidates run. Measuring and the selection use softmax(alpha).
    """

    NAME = "gumbel"
    LANES = True
    SOURCE = "GDAS (Dong, Yang 2019, arXiv 1910.04465), eq. 3 to 5; tau 10 to 0.1"
    REMEDY = True
    RANDOM: ClassVar[bool] = True
    FORMULA = "one_hot(argmax p), gradient of p; p = softmax((log softmax(alpha) + Gumbel) / tau)"
    DIFFERS = (
        "The authors' NAS-Bench-201 code adds the zero weights of the candidates left out to the edge's sum, which "
        "gives each the gradient of the output's sum; their DARTS-cell code, and ours, gives them none. Their search "
        "has 250 epochs, batch 256, weight decay 5e-4 and Nesterov momentum."
    )

    class Settings(registry.Settings):
        tau_start: float = Field(10.0, gt=0, description="Temperature in the first epoch.")
        tau_end: float = Field(0.1, gt=0, description="Temperature in the last epoch. It changes linearly.")
        hard: bool = Field(
            True, description="Whether one candidate is drawn for each edge. `false` mixes all candidates."
        )

        def may_change(self) -> tuple[str, ...]:
            return ("tau_start", "tau_end")

        @model_validator(mode="after")
        def _cools(self) -> Gumbel.Settings:
            if self.tau_end > self.tau_start:
                raise ValueError(f"tau_end ({self.tau_end:g}) must not be above tau_start ({self.tau_start:g})")
            return self

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self.tau = float(self.settings.tau_start)
        self.SPARSE = bool(self.settings.hard)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.epochs == 1 and self.settings.written("tau_end") and self.settings.tau_end < self.settings.tau_start:
            yield Idle(
                "tau_end", "is reached in the last epoch, and a search of 1 epoch stays at tau_start; raise epochs"
            )

    def on_epoch_start(self, now: Moment) -> None:
        start, end = self.settings.tau_start, self.settings.tau_end
        self.tau = start - (start - end) * now.progress

    def __call__(self, alpha: Tensor) -> Tensor:
        draws = torch.empty_like(alpha, requires_grad=False).exponential_(generator=self.generator)
        gumbel = -draws.clamp_min_(torch.finfo(draws.dtype).tiny).log()
        p = ((alpha.log_softmax(-1) + gumbel) / self.tau).softmax(-1)
        if not self.settings.hard:
            return p
        one_hot = torch.zeros_like(p).scatter_(-1, p.detach().argmax(-1, keepdim=True), 1.0)
        return one_hot + (p - p.detach())  # the bracket is exactly 0

    def expected(self, alpha: Tensor) -> Tensor:
        return alpha.softmax(-1)
