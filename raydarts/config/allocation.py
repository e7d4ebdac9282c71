"""`evaluate.confidence`: seeds are added until the first place is sure. The settings, and what they fill in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from raydarts.config.source import Node
from raydarts.config.spec import AnswerSettings
from raydarts.evaluation.trainings import SETTINGS
from raydarts.registry import Around, Idle
from raydarts.study.allocation import ALL, SHORT, THIRD, Aim, affordable, places
from raydarts.units import Unit

_ONLY_WITH = ("within", "max_seeds", "max_share")


class AllocatedSettings(AnswerSettings):
    """The section `evaluate`. With `confidence` seeds are added where the first places overlap.

    With `confidence` these are filled in if they are not written: `seeds: [0]`, `top_k: third`, and a rung that trains
    all genotypes for a 24th of the epochs.
    """

    confidence: Annotated[float, Unit("probability")] | None = Field(
        None,
        gt=0.5,
        lt=1,
        description="Evaluation seeds are added until the first place is the best genotype with this probability. "
        "`null`: none is added.",
    )
    within: Annotated[float, Unit("the score's unit")] = Field(
        0, ge=0, description="With `confidence`: a first place that is at most so much worse than the best is right."
    )
    max_seeds: Annotated[int, Unit("evaluation seeds")] = Field(
        8, ge=1, description="With `confidence`: most evaluation seeds of one genotype."
    )
    max_share: Annotated[float, Unit("share")] | None = Field(
        0.5,
        gt=0,
        description="With `confidence` and rungs: seeds are added only while rungs and `evaluate` together take at "
        "most this share of the epochs of training each genotype of the first rung once at full length. `null`: no "
        "limit.",
    )

    @model_validator(mode="after")
    def _seeds_can_be_added(self) -> AllocatedSettings:
        if self.confidence is None:
            return self
        if self.table is not None:
            raise ValueError("confidence adds evaluation seeds, and a table has none to add: leave confidence out")
        if len(self.seeds) > self.max_seeds:
            raise ValueError(
                f"seeds has {len(self.seeds)} evaluation seeds, and max_seeds is {self.max_seeds}; "
                f"allowed: at most {self.max_seeds} seeds to begin with, or a larger max_seeds"
            )
        return self

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        if self.confidence is None:
            for key in _ONLY_WITH:
                if self.written(key):
                    yield Idle(key, "acts only with confidence; write confidence: 0.9, or leave it out")
        elif self.max_seeds == len(self.seeds):
            yield Idle(
                "confidence",
                f"adds evaluation seeds, and max_seeds allows no more than the {self.max_seeds} of seeds; raise it",
            )

    @property
    def aim(self) -> Aim | None:
        """Returns when no more seeds are added. None: none ever are."""
        return None if self.confidence is None else Aim(self.confidence, self.within, self.max_seeds)

    def most_retrainings(self, offered: int, entrants: int | None, spent: int) -> int:
        """Returns how many retrainings there are at most.

        `offered`: the genotypes that come here. `entrants`: those of the first rung, which took `spent` epochs with all
        rungs. None: there is no rung.
        """
        taken = places(self.top_k, offered)
        first = taken * len(self.seeds)
        if self.confidence is None:
            return first
        more = taken * (self.max_seeds - len(self.seeds)) if taken > 1 else 0
        if entrants is not None:
            limit = affordable(self.max_share, entrants, self.epochs, spent + first * self.epochs)
            more = more if limit is None else min(more, limit)
        return first + more


def fill_in_stages(root: Node, training: str) -> None:
    """Writes what `evaluate.confidence` stands for and the spec leaves out, in place.

    `training`: the name of the training that the data need, whose default of `epochs` holds if none are written.
    """
    evaluate = root.keys.get("evaluate")
    confidence = None if evaluate is None else evaluate.parts.get("confidence")
    if evaluate is None or not isinstance(evaluate.value, dict) or confidence is None or confidence.value is None:
        return
    table = evaluate.value.get("table")
    if table is not None and table.value is not None:
        return  # it is refused
    where = confidence.where
    evaluate.value.setdefault("seeds", Node([Node(0, where)], where))
    evaluate.value.setdefault("top_k", Node(THIRD, where))
    if "rungs" not in root.keys:
        written = evaluate.value["training"].parts.get("epochs") if "training" in evaluate.value else None
        epochs = SETTINGS[training].model_fields["epochs"].default if written is None else written.value
        if not isinstance(epochs, int) or isinstance(epochs, bool):
            return  # it is refused
        short = Node({"epochs": Node(max(1, round(epochs / SHORT)), where)}, where)
        warmup = evaluate.value["training"].parts.get("warmup_epochs") if "training" in evaluate.value else None
        if warmup is not None and isinstance(warmup.value, int):
            short.keys["warmup_epochs"] = Node(round(warmup.value / SHORT), where)
        root.keys["rungs"] = Node([Node({"top_k": Node(ALL, where), "training": short}, where)], where)
