"""Searchers: which configurations are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from raydarts.registry import Member


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, as a searcher is told: `reports` are its `(epoch, value)` pairs so far."""

    status: str
    value: float | None = None
    reports: Sequence[tuple[int, float]] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "value": self.value, "reports": [list(pair) for pair in self.reports]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        return cls(
            value["status"], value["value"], tuple((int(epoch), float(score)) for epoch, score in value["reports"])
        )


class Searcher(Member):
    """Proposes a draw of the search space for each trial, and is told how trials end.

    `start` comes first. `propose` is called with 0, 1, 2, ... in order; None: there are no more.
    The calls are recorded and made again in the same order when a run is resumed, so the same
    calls must give the same draws.

    `MODEL_BASED`: it fits a model to the trials' results and proposes by it, so that seeds may not be left open to
    it. A class that says nothing counts as model-based where it defines `tell`, for what it is told may steer it;
    one that only takes notes there says `MODEL_BASED = False`.
    """

    MODEL_BASED: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "tell" in vars(cls) and "MODEL_BASED" not in vars(cls):
            cls.MODEL_BASED = True

    def start(self, loaded: Any) -> None:
        """Take the `LoadedSpec` of the sweep."""
        self.loaded = loaded

    def total(self) -> int:
        """How many trials there will be."""
        raise NotImplementedError

    def propose(self, index: int) -> Any | None:
        """The draw of trial `index`."""
        raise NotImplementedError

    def tell(self, index: int, outcome: Outcome) -> None:
        """Trial `index` has ended."""
