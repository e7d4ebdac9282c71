"""SmoothDARTS with an adversary."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from raydarts.search.moments import Step
from raydarts.search.passes import Asking, Mode, Pass
from raydarts.search.regularizers.sdarts import Ball, Sdarts


class SdartsAdv(Sdarts):
    """Moves the arch weights of the weight step to where the training loss is higher, within a ball (L-inf PGD).

    The attack starts at a uniform random point of the ball. It takes `moves` moves of reach * r / moves along the sign
    of dL_train/d arch weights and projects each back. Its result is used only if the loss rose. r grows as in
    `sdarts_rs`. The supernet is in evaluation mode, and every pass uses the same noise. With a relaxation that draws,
    batch norms use the batch's statistics, because the running ones belong to other draws.

    `projection: nearest` stays in the ball and keeps each edge's arch weights a distribution. `none` stays in the ball.
    `rescaled` is the authors' (clamp, divide by the edge's sum) and can leave the ball. A weight step takes moves + 2
    more passes. Candidates that a sparse relaxation leaves out have no gradient, so only their start is random.
    """

    NAME = "sdarts_adv"
    LANES = True
    SOURCE = "SmoothDARTS (Chen, Hsieh 2020, arXiv 2002.05283), section 3.2; 7 moves of 2 r / 7, radius .03 to .3"
    FORMULA = "w descends max over |d| <= r of L_train(w, arch_weights + d), the maximum by projected gradient ascent"
    CONFLICTS = {
        "regularizer:sdarts_rs": "they are the mean and the maximum over the same ball; one upon the other would "
        "perturb by twice the radius"
    }
    DIFFERS = (
        "The authors' code ends each move by clamping to [0, 1] and dividing by the edge's sum, after which arch "
        "weights can lie outside the ball (eight equal ones can end one-hot at r = .3); here the nearest distribution "
        "within the ball is taken. Theirs keeps an attack that left the loss equal; their batch-norm statistics are "
        "untouched too, being in evaluation mode."
    )

    class Settings(Sdarts.Settings):
        moves: int = Field(7, ge=1, description="Moves of the attack in each weight step.")
        reach: float = Field(2.0, gt=0, description="Length of all moves together, as a multiple of the radius.")

        def may_change(self) -> tuple[str, ...]:
            return (*super().may_change(), "moves", "reach")

    def perturbing(self, arch_weights: dict[str, Tensor], step: Step) -> Asking[None]:
        if self._radius == 0:
            return
        objective, balls = step.objective, self.balls(arch_weights, step)
        mode: Mode = "batch_statistics" if objective.relaxation.RANDOM else "evaluation"

        def at(points: Mapping[str, Tensor], *by: str) -> Pass:
            return Pass("weight", objective.project(dict(points)), by, mode=mode)

        centre = {name: ball.centre for name, ball in balls.items()}
        before = (yield at(centre)).loss
        points = {name: ball.project(ball.centre + ball.noise(self._generator)) for name, ball in balls.items()}
        for _ in range(self.settings.moves):
            gradients = (yield at(points, *points)).gradients
            points = {
                name: ball.project(points[name] + self._move(ball) * gradient.sign())
                for (name, ball), gradient in zip(balls.items(), gradients, strict=True)
            }
        rose = (yield at(points)).loss > before
        # A comparison on the device: no value is read.
        self.move(arch_weights, {name: torch.where(rose, points[name], centre[name]) for name in centre}, step)

    def _move(self, ball: Ball) -> Tensor:
        size: Tensor = self.settings.reach / self.settings.moves * ball.radius
        return size
