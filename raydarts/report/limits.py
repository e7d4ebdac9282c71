"""What values of a figure are possible at all, so that no interval says more.

An interval is computed first and cut at the limits then. Its coverage stays what it was: the true mean lies inside the
limits, so what is cut off never holds it. A transformed scale (logit, log) would give an interval of another mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from raydarts.study.objectives import Score


@dataclass(frozen=True)
class Limits:
    """The least and the largest possible value. None: there is none."""

    least: float | None = None
    most: float | None = None

    def cut(self, value: float) -> float:
        """Returns the possible value that is nearest to `value`."""
        if self.least is not None and value < self.least:
            return self.least
        return self.most if self.most is not None and value > self.most else value

    @property
    def of_differences(self) -> Limits:
        """The limits of a difference of two such values."""
        if self.least is None or self.most is None:
            return ANY
        return Limits(self.least - self.most, self.most - self.least)


ANY = Limits()
SHARE = Limits(0.0, 1.0)
COUNT = Limits(0.0)
"""Of counts, sizes and times."""
PERPLEXITY = Limits(1.0)
_COUNTED = ("parameters", "FLOPs", "s", "edges", "epochs")
_OF_UNIT = {"share": SHARE, "perplexity": PERPLEXITY, **dict.fromkeys(_COUNTED, COUNT)}
_OF_MEASURE = {"accuracy": SHARE, "perplexity": PERPLEXITY, "loss": COUNT}
_OF_COLUMN = {"entropy_mean": COUNT, "short_retrain": Limits(most=1.0)}


def limits_of(score: Score) -> Limits:
    """Returns the limits of a score: those of a share, else of its unit, else of what its name says."""
    if score.share:
        return SHARE
    unit = _OF_UNIT.get(getattr(score, "unit", ""))
    return unit or _OF_COLUMN.get(score.metric) or _OF_MEASURE.get(score.measure, ANY)
