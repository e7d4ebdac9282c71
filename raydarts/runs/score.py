"""What genotypes are ranked by, and which way is better: one notion for rankings, tables, figures and trackers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 1e150
"""A figure above this is taken for infinite: its square is no finite number."""


@dataclass(frozen=True)
class Score:
    """A figure of held-out data. `mode`: `max` or `min` is better; `share`: lies in [0, 1] and is told in percent.

    A run keeps its retraining's in run.json (`spec.score`), the evaluation having declared it.
    """

    metric: str
    mode: str
    share: bool

    @property
    def test(self) -> str:
        """The same figure of test data, which orders nothing."""
        return self.metric.replace("validation", "test")

    @property
    def words(self) -> str:
        return self.metric.replace("_", " ")

    @property
    def measure(self) -> str:
        """`accuracy`, `perplexity`."""
        return self.metric.rsplit("_", maxsplit=1)[-1]

    @property
    def sign(self) -> float:
        """Times a value: more is better."""
        return 1.0 if self.mode == "max" else -1.0

    @property
    def digits(self) -> int:
        """Decimals it is told with where it is not told in percent."""
        return 2 if self.measure == "perplexity" else 4

    @property
    def direction(self) -> str:
        return "higher is better" if self.mode == "max" else "lower is better"

    def of(self, values: Mapping[str, Any]) -> float | None:
        """This figure among `values`; None where it is absent, no number, or as good as infinite."""
        value = values.get(self.metric)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            return None
        return float(value)

    def better(self, one: float, other: float) -> bool:
        return self.sign * one > self.sign * other

    def best(self, values: Iterable[float]) -> float:
        return max(values, key=lambda value: self.sign * value)

    def to_json(self) -> dict[str, Any]:
        return {"metric": self.metric, "mode": self.mode, "share": self.share}


ACCURACY = Score("validation_accuracy", "max", True)
PERPLEXITY = Score("validation_perplexity", "min", False)
_LOWER = ("loss", "perplexity")
MEASURES = ("accuracy", *_LOWER)
"""The last words of metrics of which it is known which way is better."""


def mode_of(metric: str) -> str:
    """Which way is better, told by a metric's name: losses and perplexities are minimised."""
    return "min" if metric.endswith(_LOWER) else "max"


def score_named(metric: str, mode: str) -> Score:
    """A metric of a search as a score: accuracies are shares."""
    return Score(metric, mode, metric.endswith("accuracy"))


def score_of(description: Mapping[str, Any]) -> Score:
    """What a run's retrainings are ranked by, out of its run.json; runs made before scores were kept: accuracy."""
    kept = (description.get("spec") or {}).get("score")
    return ACCURACY if kept is None else Score(**kept)


def search_score_of(description: Mapping[str, Any]) -> Score:
    """What a run's search trials are ordered by, out of its run.json: the sweep's metric.

    A single search has no sweep: then what its retrainings would be ranked by.
    """
    sweep = (description.get("spec") or {}).get("sweep") or {}
    if sweep.get("metric") is None:
        return score_of(description)
    return score_named(sweep["metric"], sweep.get("mode") or mode_of(sweep["metric"]))
