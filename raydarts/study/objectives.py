"""What genotypes are ranked by, and which way is better: one notion for rankings, tables, figures and trackers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raydarts.errors import DamagedError
from raydarts.registry import members

LARGEST = 1e150
"""A figure above this is taken for infinite: its square is no finite number."""


def figure(value: Any) -> float | None:
    """A number; None where a job of somebody's own gave something else, or one so large that its square is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return float(value)


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
        return figure(values.get(self.metric))

    def better(self, one: float, other: float) -> bool:
        return self.sign * one > self.sign * other

    def best(self, values: Iterable[float]) -> float:
        return max(values, key=lambda value: self.sign * value)

    def to_json(self) -> dict[str, Any]:
        return {"metric": self.metric, "mode": self.mode, "share": self.share}


ACCURACY = Score("validation_accuracy", "max", True)
PERPLEXITY = Score("validation_perplexity", "min", False)
_OF_TRAINING = {"image": ACCURACY, "language": PERPLEXITY}
_OF_KIND = {"image": ACCURACY, "text": PERPLEXITY}
"""Of a training by its name, and of a data set by its `KIND`: what runs made before scores were kept are ranked by."""
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
    """What a run's retrainings are ranked by, out of its run.json.

    A run made before scores were kept is answered by what it trained (`_of_the_task`). Raises `DamagedError` where
    that says nothing either: a score that was guessed could rank the worst first.
    """
    spec = description.get("spec") or {}
    kept = spec.get("score")
    if kept is not None:
        return Score(**kept)
    known = _of_the_task(spec)
    if known is None:
        name, example = description.get("name"), json.dumps(ACCURACY.to_json())
        file = f"run.json of run {name}" if name else "run.json"
        raise DamagedError(
            f"{file}: damaged: spec.score is missing, and what the run trained does "
            f"not say by what it is ranked; write what that is into run.json under spec, for example "
            f'"score": {example}'
        )
    return known


def _of_the_task(spec: Mapping[str, Any]) -> Score | None:
    """What follows from a spec's table, training or data set, in this order; None: nothing.

    A table holds accuracies. Nothing from outside raydarts is imported.
    """
    evaluate = spec.get("evaluate") or {}
    if evaluate.get("table") is not None:
        return ACCURACY
    training = (evaluate.get("training") or {}).get("name")
    if training is not None:
        return _OF_TRAINING.get(training)
    dataset = (spec.get("data") or {}).get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    shipped = members("dataset").get(name) if isinstance(name, str) else None
    return _OF_KIND.get(getattr(shipped, "KIND", ""))


def search_score_of(description: Mapping[str, Any]) -> Score:
    """What a run's search trials are ordered by, out of its run.json: the sweep's metric.

    A single search has no sweep: then what its retrainings would be ranked by.
    """
    sweep = (description.get("spec") or {}).get("sweep") or {}
    if sweep.get("metric") is None:
        return score_of(description)
    return score_named(sweep["metric"], sweep.get("mode") or mode_of(sweep["metric"]))
