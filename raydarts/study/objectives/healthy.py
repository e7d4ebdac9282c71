"""The default objectives: healthy first, then the figure of the current epoch."""

from __future__ import annotations

from typing import ClassVar

from raydarts.study.objectives.base import Direction, Objective

_SOURCE = "ours; measured on RobustDARTS' S1 grid (docs/method.md)"


class HealthyAccuracy(Objective):
    """A healthy cell before every other cell, then the supernet's accuracy on held-out images."""

    NAME = "healthy_accuracy"
    SOURCE = _SOURCE
    COLUMN = "validation_accuracy"
    UNIT = "share"
    HEALTHY = True


class HealthyPerplexity(Objective):
    """A healthy cell before every other cell, then the supernet's perplexity on held-out text."""

    NAME = "healthy_perplexity"
    SOURCE = _SOURCE
    COLUMN = "validation_perplexity"
    DIRECTION: ClassVar[Direction] = "min"
    UNIT = "perplexity"
    HEALTHY = True
