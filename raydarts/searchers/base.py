"""Searchers: which configurations are tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from raydarts.config.distributions import Draw, Tree
from raydarts.config.loader import LoadedSpec
from raydarts.registry import Around, Idle, Member
from raydarts.study.study import Outcome


class Searcher(Member):
    """Proposes a draw of the search space for each trial, and is told how trials end.

    `start` comes first. `propose` is called with 0, 1, 2, ... in order; None: there are no more.
    The calls are recorded and made again in the same order when a run is resumed, so the same
    calls must give the same draws.

    `MODEL_BASED`: it fits a model to the trials' results and proposes by it, so that seeds may not be left open to
    it. A class that says nothing counts as model-based where it defines `tell`, for what it is told may steer it;
    one that only takes notes there says `MODEL_BASED = False`.

    `EXHAUSTIVE`: it tries every combination once, so that a spec may have no distribution that cannot be enumerated,
    and nothing is drawn at random.
    """

    MODEL_BASED: ClassVar[bool] = False
    EXHAUSTIVE: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "tell" in vars(cls) and "MODEL_BASED" not in vars(cls):
            cls.MODEL_BASED = True

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        trials = getattr(self.settings, "trials", 0)
        if around.distinct is not None and trials > around.distinct:
            yield Idle(
                "trials",
                f"is {trials}, and search has only {around.distinct} configurations that differ: further trials repeat "
                f"one of them with the same seed; write searcher: grid, or trials: {around.distinct} at most",
            )

    def refusals(self, tree: Tree) -> Iterator[str]:
        """Why it cannot search this space, in sentences with what to write instead. Asked when a spec is read."""
        yield from ()

    def start(self, loaded: LoadedSpec) -> None:
        """Take the `LoadedSpec` of the sweep."""
        self.loaded = loaded

    def total(self) -> int:
        """How many trials there will be."""
        raise NotImplementedError

    def propose(self, index: int) -> Draw | None:
        """The draw of trial `index`."""
        raise NotImplementedError

    def tell(self, index: int, outcome: Outcome) -> None:
        """Trial `index` has ended."""
