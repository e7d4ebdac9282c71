"""What genotypes are ranked by, and which way is better: one notion for rankings, tables, figures and trackers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raydarts.errors import DamagedError
from raydarts.json_types import Json, items, section, text
from raydarts.registry import members
from raydarts.study.bars import Bar, complaints, figure


@dataclass(frozen=True)
class Score:
    """A figure of held-out data. `mode`: `max` or `min` is better; `share`: lies in [0, 1] and is told in percent.

    A run keeps its retraining's in run.json (`spec.score`), the evaluation having declared it.
    """

    metric: str
    mode: str
    share: bool

    @property
    def each(self) -> tuple[Score, ...]:
        """All scores: a search may be ranked by several objectives."""
        return (self,)

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

    def of(self, values: Mapping[str, object]) -> float | None:
        """This figure among `values`; None where it is absent, no number, or as good as infinite."""
        return figure(values.get(self.metric))

    def order(self, values: Mapping[str, object]) -> float | None:
        """One finite number whose order is the ranking's; here it is the figure itself."""
        return self.of(values)

    def finite(self, values: Mapping[str, object]) -> float | None:
        """The form for models and running means; here it is the figure itself."""
        return self.of(values)

    def better(self, one: float, other: float) -> bool:
        return self.sign * one > self.sign * other

    def best(self, values: Iterable[float]) -> float:
        return max(values, key=lambda value: self.sign * value)

    def to_json(self) -> dict[str, Json]:
        return {"metric": self.metric, "mode": self.mode, "share": self.share}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Score:
        return Score(str(value["metric"]), str(value["mode"]), bool(value["share"]))


_LARGEST_SHARE = 1.0
_LARGEST_FIGURE = 1e12
"""A figure above this ranks like this one. Behind it begins the range of rows that something speaks against."""
_PENALTY_OF_A_SHARE = 0.4
"""0.05 for each of 8 edges: an accuracy in points minus 5 x the edges without parameters beyond half of them."""
_PENALTY_OF_A_FIGURE = 2.0


@dataclass(frozen=True)
class SearchScore(Score):
    """What search trials are ranked by: a figure of their rows, and what speaks against a row.

    - `name`, `unit`: of the objective. An objective names a figure (`metric`) and a direction (`mode`).
    - `health`: the bars of the health checks. They rank only if `healthy`; they are shown always.
    - `constraints`: bars on other figures.
    - `more`: the further objectives of several. Each is a figure with its direction. This one is the first of them, and
      it alone has the bars, which count for all. Where only one figure can be told, it is the first objective's.
    """

    name: str = ""
    unit: str = ""
    healthy: bool = False
    health: tuple[Bar, ...] = ()
    constraints: tuple[Bar, ...] = ()
    more: tuple[SearchScore, ...] = ()

    @property
    def several(self) -> bool:
        """Whether there are several objectives."""
        return bool(self.more)

    @property
    def each(self) -> tuple[SearchScore, ...]:
        """All objectives. Those after the first have no bars."""
        return (self, *self.more)

    @property
    def title(self) -> str:
        """What trials are ranked by, in words: each objective with its direction."""
        return " and ".join(f"{each.name or each.metric} ({each.direction})" for each in self.each)

    def unhealthy(self, values: Mapping[str, object]) -> list[str]:
        """What is wrong with the genotype of a row, in words. Facts that the row does not have are not judged."""
        return complaints([bar for bar in self.health if bar.known(values)], values)

    def against(self, values: Mapping[str, object]) -> list[str]:
        """What makes a row rank behind every row that nothing speaks against."""
        return complaints([*(self.health if self.healthy else ()), *self.constraints], values)

    @property
    def warning(self) -> str:
        """What ranking by a plain figure has done; an empty text where healthy cells rank first."""
        if self.healthy:
            return ""
        measure = self.metric.rsplit("_", maxsplit=1)[-1]
        text = any(each.metric.endswith("perplexity") for each in self.each)
        default = "healthy_perplexity" if text else "healthy_accuracy"
        if self.several:
            names = " and ".join(each.name for each in self.each)
            others = [each.name for each in self.each if each.metric != default.replace("healthy", "validation")]
            return (
                f"Trials are ranked by {names}, and none of them looks at health: a collapsed cell may be on the front "
                f"(docs/method.md). objective: [{', '.join([default, *others])}] ranks healthy cells first."
            )
        alone = f"Trials are ranked by {self.name} alone"
        crowned = "crowned a collapsed cell in 92 to 100 % of simulated sweeps over published searches"
        if measure == "accuracy":
            done = f"{alone}. This {crowned}, whatever the scheduler"
        elif measure in MEASURES:
            done = f"{alone}. Accuracy alone {crowned}, and no record shows that this figure does better"
        else:
            done = f"{alone}, and a collapsed or broken cell may be first: no single signal has ranked cells well"
        return f"{done} (docs/method.md). objective: {default} ranks healthy cells first."

    @property
    def worst(self) -> float:
        """A number that no row's `order` is worse than."""
        return self._moved(-self._scale * self.sign)

    @property
    def _scale(self) -> float:
        return _LARGEST_SHARE if self.share else _LARGEST_FIGURE

    def _moved(self, value: float) -> float:
        return value - 2 * self.sign * self._scale

    def order(self, values: Mapping[str, object]) -> float | None:
        """One finite number whose order is the objective's: the figure, moved behind all others if something speaks
        against the row."""
        value = self.of(values)
        if value is None or not (self.healthy or self.constraints):
            return value
        return self._placed(value, bool(self.against(values)))

    def _placed(self, value: float, against: bool) -> float:
        value = max(-self._scale, min(self._scale, value))
        return self._moved(value) if against else value

    def figures(self, values: Mapping[str, object]) -> tuple[float, ...] | None:
        """The figure of each objective. None: one of them is not there."""
        known = [value for each in self.each if (value := each.of(values)) is not None]
        return tuple(known) if len(known) == len(self.each) else None

    def orders(self, values: Mapping[str, object]) -> tuple[float, ...] | None:
        """A finite number for each objective, by which rows are compared in all of them. None: a figure is not there.

        If something speaks against the row, all of its numbers are moved behind those of all other rows. So every other
        row dominates it.
        """
        figures = self.figures(values)
        if figures is None or not (self.healthy or self.constraints):
            return figures
        against = bool(self.against(values))
        return tuple(each._placed(value, against) for each, value in zip(self.each, figures, strict=True))

    @property
    def worst_of_each(self) -> tuple[float, ...]:
        """Numbers that no row's `orders` are worse than."""
        return tuple(each.worst for each in self.each)

    def costs(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """Numbers of all objectives as a point of `study.pareto`, where less is better."""
        return tuple(-each.sign * number for each, number in zip(self.each, numbers, strict=True))

    def excesses(self, values: Mapping[str, object]) -> tuple[float, ...]:
        """By how much a row breaks each bar, for a searcher that knows constraints. At most 0 where it keeps the bar.

        The bars are the constraints. With several objectives the bars of healthy objectives are among them. With one
        objective health is part of its finite form.
        """
        health = self.health if self.several and self.healthy else ()
        return tuple(bar.excess(values) for bar in (*health, *self.constraints))

    def finite(self, values: Mapping[str, object]) -> float | None:
        """The form for models and running means: close rows have close values.

        An accuracy loses 0.4 x the share of edges without parameters (or of skips, if that is larger) beyond one half.
        A figure that is no share is made worse by the factor 1 + 2 x that. Under constraints, a row against one loses
        0.2, or as much as it is.
        """
        value = self.healthy_form(values)
        if value is not None and complaints(self.constraints, values):
            value -= self.sign * (_PENALTY_OF_A_SHARE / 2 if self.share else abs(value))
        return value

    def healthy_form(self, values: Mapping[str, object]) -> float | None:
        """The finite form without what constraints take from it, for a searcher that is told of them by `excesses`."""
        value = self.of(values)
        if value is not None and self.healthy:
            bare = max((figure(values.get(name)) or 0.0 for name in ("parameter_free_share", "skip_share")), default=0)
            over = max(0.0, bare - 0.5)
            value -= self.sign * over * (_PENALTY_OF_A_SHARE if self.share else _PENALTY_OF_A_FIGURE * abs(value))
        return value

    def to_json(self) -> dict[str, Json]:
        return super().to_json() | {
            "name": self.name,
            "unit": self.unit,
            "healthy": self.healthy,
            "health": [bar.to_json() for bar in self.health],
            "constraints": [bar.to_json() for bar in self.constraints],
            **({"more": [each.to_json() for each in self.more]} if self.more else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> SearchScore:
        health, constraints = (
            tuple(Bar.from_json(section(bar)) for bar in items(value[key])) for key in ("health", "constraints")
        )
        return cls(
            str(value["metric"]),
            str(value["mode"]),
            bool(value["share"]),
            str(value["name"]),
            str(value["unit"]),
            bool(value["healthy"]),
            health,
            constraints,
            tuple(cls.from_json(section(each)) for each in items(value.get("more"))),
        )


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


def score_named(metric: str, mode: str) -> SearchScore:
    """A column of a search's rows as what trials are ranked by: accuracies are shares."""
    return SearchScore(metric, mode, metric.endswith("accuracy"), name=metric)


def score_of(description: Mapping[str, object]) -> Score:
    """What a run's retrainings are ranked by, out of its run.json.

    A run made before scores were kept is answered by what it trained (`_of_the_task`). Raises `DamagedError` where
    that says nothing either: a score that was guessed could rank the worst first.
    """
    spec = section(description.get("spec"))
    kept = spec.get("score")
    if kept is not None:
        return Score.from_json(section(kept))
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


def _of_the_task(spec: Mapping[str, object]) -> Score | None:
    """What follows from a spec's table, training or data set, in this order; None: nothing.

    A table holds accuracies. Nothing from outside raydarts is imported.
    """
    evaluate = section(spec.get("evaluate"))
    if evaluate.get("table") is not None:
        return ACCURACY
    training = section(evaluate.get("training")).get("name")
    if isinstance(training, str):
        return _OF_TRAINING.get(training)
    dataset = section(spec.get("data")).get("dataset")
    name = dataset.get("name") if isinstance(dataset, Mapping) else dataset
    shipped = members("dataset").get(name) if isinstance(name, str) else None
    return _OF_KIND.get(getattr(shipped, "KIND", ""))


def search_score_of(description: Mapping[str, object]) -> SearchScore:
    """What a run's search trials are ranked by, out of its run.json.

    A run that was made before objectives were recorded named a metric. A single search has no sweep: then what its
    retrainings would be ranked by.
    """
    spec = section(description.get("spec"))
    if spec.get("ranked") is not None:
        return SearchScore.from_json(section(spec["ranked"]))
    sweep = section(spec.get("sweep"))
    metric, mode = text(sweep.get("metric")), text(sweep.get("mode"))
    if metric is None:
        score = score_of(description)
        return score_named(score.metric, score.mode)
    return score_named(metric, mode or mode_of(metric))
