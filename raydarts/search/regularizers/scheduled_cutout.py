"""Cutout in search."""

from __future__ import annotations

from pydantic import Field

from raydarts import registry
from raydarts.search.moments import Moment
from raydarts.search.regularizers.base import EpochOverrides, Regularizer
from raydarts.units import Pixels

_SIDE = 32  # side of the images that `length` refers to


class ScheduledCutout(Regularizer):
    """Cutout on both halves of the search's images. Its probability rises linearly: p * epoch / (epochs - 1).

    `length` is the side of the square in pixels on images of 32 x 32, for which the value is published. On other images
    it is the same share of the shorter side, rounded, at least 1 pixel. On an 8 x 8 image 16 becomes 4, because a
    square of 16 would cover the whole image. This cutout replaces that of the search's `augment`.
    """

    NAME = "scheduled_cutout"
    LANES = True
    SOURCE = "RobustDARTS (Zela et al. 2020, arXiv 1909.09656), section 5.1; cutout: arXiv 1708.04552"
    FORMULA = "with probability p * epoch / (epochs - 1) an image's square of length / 32 of its side is set to 0"
    DIFFERS = (
        "The authors' code ramps cutout only where scheduled drop-path is on too (they act together in the paper), "
        "probability 1 by default; here each is a remedy of its own. It knows images of 32 x 32 only."
    )
    NEUTRAL = {"probability": 0.0}
    CONFLICTS = {"space:darts-rnn": "it blanks squares of images, and that space is for text"}
    OVERRIDES = ("cutout",)

    class Settings(registry.Settings):
        length: Pixels = Field(
            16, ge=1, description="Side of the square on images of 32 x 32. It is scaled for other sizes."
        )
        probability: float = Field(
            1.0, ge=0, le=1, description="Probability of the square in the last epoch. It rises from 0."
        )

        def may_change(self) -> tuple[str, ...]:
            return ("length", "probability")

    @property
    def from_zero(self) -> bool:
        return True

    def epoch_overrides(self, now: Moment) -> EpochOverrides:
        if self.settings.probability == 0:
            return {}
        return {"cutout": (self.settings.length / _SIDE, self.settings.probability * now.progress)}
