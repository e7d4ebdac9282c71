"""Configurations of a run with replicates: each is what its trials with several search seeds came to, together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raydarts.study.history import name_of
from raydarts.study.objectives import SearchScore
from raydarts.study.replicates import Spread, means_of, spread, status_of

if TYPE_CHECKING:
    from raydarts.study.results import TrialRecord


@dataclass(frozen=True)
class Configuration:
    """One configuration. `spread` is of its score over search seeds; None: no trial of it came to one yet.

    Trials that completed or were stopped count, with their last value: see `study.replicates.together`.
    """

    name: str
    status: str
    choices: Mapping[str, object]
    trials: tuple[TrialRecord, ...]
    spread: Spread | None
    order: float | None
    """The mean of the numbers that its trials are ranked by."""
    orders: tuple[float, ...] | None = None
    """With several objectives, that mean for each of them."""
    means: Mapping[str, float] | None = None
    """With several objectives, the mean of each one's figure, by its name in the rows."""

    @property
    def epochs(self) -> int:
        """The most epochs that one of its trials has run."""
        return max(record.epochs for record in self.trials)

    def to_json(self) -> dict[str, object]:
        known = self.spread
        return {
            "configuration": self.name,
            "status": self.status,
            "choices": self.choices,
            "trials": [record.id for record in self.trials],
            "mean": None if known is None else known.mean,
            "sd": None if known is None else known.sd,
            "n": 0 if known is None else known.n,
            "order": self.order,
            **({} if self.means is None else {"means": dict(self.means)}),
        }


def configurations(records: Iterable[TrialRecord], score: SearchScore) -> list[Configuration]:
    """All configurations in the order of their numbers. Empty for a run without replicates."""
    groups: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.configuration is not None:
            groups.setdefault(record.configuration, []).append(record)
    return [_configuration(number, groups[number], score) for number in sorted(groups)]


def _configuration(number: int, records: list[TrialRecord], score: SearchScore) -> Configuration:
    counted = [record for record in records if record.status in ("completed", "stopped")]
    ranked = spread(record.order(score) for record in counted)
    status = status_of({record.status for record in records})
    choices = records[0].description.get("choices") or {}
    figures = means_of(record.figures(score) for record in counted) if score.several else None
    return Configuration(
        name_of(number),
        status,
        choices,
        tuple(records),
        spread(record.value(score) for record in counted),
        None if ranked is None else ranked.mean,
        means_of(record.orders(score) for record in counted) if score.several else None,
        None if figures is None else dict(zip((each.metric for each in score.each), figures, strict=True)),
    )
