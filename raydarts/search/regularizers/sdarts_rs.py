"""SmoothDARTS by random smoothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field
from torch import Tensor

from raydarts.search.moments import Step
from raydarts.search.regularizers.sdarts import Projection, Sdarts


class SdartsRs(Sdarts):
    """Adds uniform noise from [-r, r] to the arch weights of the weight step. So weights must suit a neighbourhood.

    r = radius_start + (radius - radius_start) * epoch / epochs with the epoch from 0. So r never reaches `radius`.
    `projection: rescaled` makes the sum a distribution again, as the authors' code does (clamp to [0, 1], divide by the
    edge's sum). `none` is the paper's formula. `nearest` takes the nearest distribution within the ball. Alpha and the
    alpha step do not see the noise.
    """

    NAME = "sdarts_rs"
    LANES = True
    SOURCE = "SmoothDARTS (Chen, Hsieh 2020, arXiv 2002.05283), section 3.2; radius .03 to .3"
    FORMULA = "w descends L_train(w, arch_weights + u), u ~ U(-r, r)"
    DIFFERS = (
        "The paper adds the noise and says no more; the authors' code then clamps to [0, 1] and divides by the edge's "
        "sum (our default). Their radius divides by the number of epochs, so the last epoch has not quite .3: as here."
    )

    class Settings(Sdarts.Settings):
        projection: Projection = Field("rescaled", description="How perturbed arch weights are made valid.")

    @contextmanager
    def perturb(self, arch_weights: dict[str, Tensor], step: Step) -> Iterator[None]:
        if self._radius > 0:
            balls = self.balls(arch_weights, step)
            points = {name: ball.project(ball.centre + ball.noise(self._generator)) for name, ball in balls.items()}
            self.move(arch_weights, points, step)
        yield
