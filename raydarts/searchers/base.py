"""Searchers: which configurations are tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from raydarts.config.distributions import Draw, Tree
from raydarts.config.loader import LoadedSpec
from raydarts.registry import Around, Idle, Member
from raydarts.study.study import Outcome


class Searcher(Member):
    """Proposes a draw of the search space for each trial, and is told how trials end.

    `start` comes first, then `learn` if there are results of earlier runs. For each trial 0, 1, 2, ... in order either
    `accept` is called, with a configuration that the spec gives, or `propose`; None: there are no more.
    The calls are recorded and made again in the same order when a run is resumed, so the same
    calls must give the same draws.

    `MODEL_BASED`: it fits a model to the trials' results and proposes by it, so that seeds may not be left open to
    it. A class that says nothing counts as model-based where it defines `tell`, for what it is told may steer it;
    one that only takes notes there says `MODEL_BASED = False`.

    `SEVERAL`: with several objectives it learns from `Outcome.values`. A model-based class that does not say so is told
    one number, and is refused where there are several. One that fits no model looks at no number.

    `EXHAUSTIVE`: it tries every combination once, so that a spec may have no distribution that cannot be enumerated,
    and nothing is drawn at random.
    """

    MODEL_BASED: ClassVar[bool] = False
    EXHAUSTIVE: ClassVar[bool] = False
    SEVERAL: ClassVar[bool] = False

    def __init_subclass__(cls, **more: object) -> None:
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

    def refuses_objectives(self, names: Sequence[str]) -> str | None:
        """Why it cannot take several objectives, with what to write instead. None: it can.

        Asked when a spec is read.
        """
        if not self.MODEL_BASED or self.SEVERAL:
            return None
        return (
            f"searcher {self.registered} learns from one number, and there are {len(names)} objectives "
            f"({', '.join(names)}); write sweep.searcher: {{name: optuna, sampler: nsga2}}, or random, or one objective"
        )

    def refuses_earlier(self, configurations: int | None = None) -> str | None:
        """Why it cannot use results of earlier runs (`sweep.from_runs`), with what to write instead. None: it can.

        Asked when a spec is read, without `configurations`, and again with the number of usable ones.
        """
        if not self.MODEL_BASED:
            what = "fits no model, so results of earlier runs would do nothing"
        elif type(self).learn is Searcher.learn:
            what = f"learns nothing from earlier runs: its class {type(self).__name__} defines no learn"
        else:
            return None
        return f"searcher {self.registered} {what}; leave from_runs out, or write sweep.searcher: optuna"

    def start(self, loaded: LoadedSpec) -> None:
        """Take the `LoadedSpec` of the sweep."""
        self.loaded = loaded

    def learn(self, known: Sequence[tuple[Draw, float]]) -> None:
        """Results of earlier runs: draws of this space, each with its value. It comes after `start`, once."""
        raise NotImplementedError

    def recall(self, known: Sequence[tuple[Draw, Outcome]]) -> None:
        """The same with all that is known of each: the values of several objectives, and how constraints were kept.

        By default it calls `learn` with one value of each.
        """
        self.learn([(draw, outcome.value) for draw, outcome in known if outcome.value is not None])

    def accept(self, index: int, draw: Draw) -> None:
        """Trial `index` is a configuration of `sweep.points`. It takes the place of a proposal, and `tell` follows."""

    def total(self) -> int:
        """How many trials there will be."""
        raise NotImplementedError

    def propose(self, index: int) -> Draw | None:
        """The draw of trial `index`."""
        raise NotImplementedError

    def tell(self, index: int, outcome: Outcome) -> None:
        """Trial `index` has ended."""
