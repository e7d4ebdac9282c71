"""What both forms of SmoothDARTS share: the radius, and where perturbed arch weights may lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.search.moments import Moment, Step
from raydarts.search.regularizers.base import Regularizer
from raydarts.streams import Streams

Projection = Literal["nearest", "rescaled", "none"]


class Ball:
    """The arch weights that differ from `centre` by at most `radius` in each entry. `centre` is `(..., num_ops)`.

    With `simplex` an edge's arch weights are a distribution, or a share of one: their sum s, which another remedy may
    have set. Then the radius is in units of s and the sum is kept. Without `simplex` each entry is in [0, 1].
    """

    def __init__(self, centre: Tensor, radius: float, *, simplex: bool, projection: Projection) -> None:
        self.centre, self.simplex, self.projection = centre, simplex, projection
        self.most = centre.sum(-1, keepdim=True) if simplex else torch.ones_like(centre[..., :1])
        self.radius = radius * self.most
        self.lower, self.upper = centre - self.radius, centre + self.radius
        if projection == "nearest":
            self.lower = torch.minimum(self.lower.clamp(min=0), centre)
            self.upper = torch.maximum(torch.minimum(self.upper, self.most), centre)

    def noise(self, generator: torch.Generator | None) -> Tensor:
        """Returns uniform noise from the ball around 0."""
        return self.radius * torch.empty_like(self.centre).uniform_(-1, 1, generator=generator)

    def project(self, point: Tensor) -> Tensor:
        """Returns valid arch weights near `point`.

        - `nearest`: the nearest point of the ball that has the edge's sum and is within [0, s] (without simplex: [0,
          1]).
        - `none`: the nearest point of the ball.
        - `rescaled`: that point, clamped to [0, s] and divided by the edge's sum. It can be outside the ball.
        """
        if self.projection == "nearest" and self.simplex:
            return _with_sum(point, self.lower, self.upper, self.most)
        inside = torch.maximum(torch.minimum(point, self.upper), self.lower)
        return self._rescaled(inside) if self.projection == "rescaled" else inside

    def _rescaled(self, point: Tensor) -> Tensor:
        clamped = torch.minimum(point.clamp(min=0), self.most)
        if not self.simplex:
            return clamped
        total = clamped.sum(-1, keepdim=True)
        strongest = torch.zeros_like(point).scatter_(-1, point.argmax(-1, keepdim=True), 1.0)
        return torch.where(total > 0, clamped / total, strongest) * self.most


def _with_sum(point: Tensor, lower: Tensor, upper: Tensor, total: Tensor) -> Tensor:
    """Returns the nearest x to `point` (Euclidean) with lower <= x <= upper and rows that sum to `total`.

    x = clamp(point - t, lower, upper) with one t for each row. The sum falls in t. It is linear between the 2 num_ops
    values of t at which an entry meets a bound. t lies between the two of them whose sums enclose `total`.
    """
    at = torch.cat([point - upper, point - lower], -1).sort(-1).values
    sums = (point[..., None, :] - at[..., None]).clamp(lower[..., None, :], upper[..., None, :]).sum(-1)
    left = (sums >= total).sum(-1, keepdim=True).clamp(1, at.shape[-1] - 1) - 1
    t_left, t_right = at.gather(-1, left), at.gather(-1, left + 1)
    s_left, s_right = sums.gather(-1, left), sums.gather(-1, left + 1)
    part = ((s_left - total) / (s_left - s_right).clamp_min(torch.finfo(point.dtype).tiny)).clamp(0, 1)
    return (point - (t_left + part * (t_right - t_left))).clamp(lower, upper)


class Sdarts(Regularizer):
    """Perturbs the arch weights of the weight step within a ball whose radius grows."""

    NEUTRAL = {"radius": 0.0, "radius_start": 0.0}

    class Settings(registry.Settings):
        radius_start: float = Field(0.03, ge=0, description="Radius of the ball in the first epoch.")
        radius: float = Field(0.3, ge=0, description="Radius that the ball approaches.")
        projection: Projection = Field("nearest", description="How perturbed arch weights are made valid.")

        def may_change(self) -> tuple[str, ...]:
            return ("radius_start", "radius")

    def __init__(self, settings: registry.Settings) -> None:
        super().__init__(settings)
        self._radius = 0.0
        self._generator: torch.Generator | None = None

    def bind(self, streams: Streams) -> None:
        self._generator = streams[self.NAME]

    def on_epoch_start(self, now: Moment) -> None:
        start = self.settings.radius_start
        self._radius = start + (self.settings.radius - start) * now.epoch / now.epochs

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if around.epochs == 1 and self.settings.radius_start == 0 and self.settings.radius > 0:
            yield Idle(
                "radius", "is approached from radius_start 0, and a search has 1 epoch; raise epochs or radius_start"
            )

    def balls(self, arch_weights: Mapping[str, Tensor], step: Step) -> dict[str, Ball]:
        """Returns the ball around each cell type's arch weights."""
        simplex, projection = step.objective.relaxation.SIMPLEX, self.settings.projection
        return {
            name: Ball(value.detach(), self._radius, simplex=simplex, projection=projection)
            for name, value in arch_weights.items()
        }

    @staticmethod
    def move(arch_weights: dict[str, Tensor], points: Mapping[str, Tensor], step: Step) -> None:
        """Replaces the arch weights. What a selection has decided stays."""
        arch_weights.update(step.objective.project(dict(points)))
