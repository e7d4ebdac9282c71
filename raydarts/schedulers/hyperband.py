"""HyperBand: successive halving in brackets, in which trials wait for one another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from raydarts import registry
from raydarts.registry import Around, Idle
from raydarts.schedulers.base import Horizon, Scheduler
from raydarts.schedulers.driving import TIME, Driven
from raydarts.study.forecast import Cohort, Cut
from raydarts.study.scheduling import Decider


class HyperBand(Scheduler):
    """A trial waits at a milestone until all of its bracket are there; then the best 1/reduction_factor go on."""

    NAME = "hyperband"
    SOURCE = "Li et al. 2018, JMLR 18 (arXiv 1603.06560); Ray Tune HyperBandScheduler"
    PAUSES = True

    class Settings(registry.Settings):
        """Bracket s has its first milestone at E / reduction_factor^s epochs; E: the most that any trial runs."""

        reduction_factor: float = Field(
            3.0,
            ge=2,
            description="Bracket s has its first milestone at E / reduction_factor^s epochs. E is the most epochs"
            " of any trial.",
        )

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        last, factor = around.epochs, self.settings.reduction_factor
        first = 1 + round(math.log(max(last, 1)) / math.log(factor))
        if first == 1 or last < factor:
            yield Idle("", f"stops none where trials run at most {last} epochs; write scheduler: asha, or fifo")
            return
        second = math.ceil(first / 2 * factor)
        kept = math.ceil(second / factor)
        if around.jobs <= first + kept:
            yield Idle(
                "",
                f"stops none of {around.jobs} trials: the first {first} run to their end, and of the next {second} the "
                f"best {kept} do; write {first + kept + 1} trials or more, or scheduler: asha",
            )

    def meetings(self, horizon: Horizon) -> frozenset[int]:
        """The milestones of all brackets. Bracket s halves its trials s times."""
        factor, milestones = self.settings.reduction_factor, set()
        for halves in range(1 + round(math.log(max(horizon.epochs, 1)) / math.log(factor))):
            milestone = int(horizon.epochs * factor**-halves)
            for _ in range(halves):
                milestones.add(milestone)
                milestone = int(min(milestone * factor, horizon.epochs))
        return frozenset(epoch for epoch in milestones if 0 < epoch < horizon.epochs)

    def cohorts(self, horizon: Horizon) -> tuple[Cohort, ...]:
        """The brackets in the order in which they are filled. After the last one they begin again."""
        factor, cohorts = self.settings.reduction_factor, []
        first = 1 + round(math.log(max(horizon.epochs, 1)) / math.log(factor))
        for halves in range(first):
            size = math.ceil(first / (halves + 1) * factor**halves)
            milestone, here, cuts = int(horizon.epochs * factor**-halves), size, []
            for _ in range(halves):
                kept = math.ceil(here / factor)
                if 0 < milestone < horizon.epochs:
                    cuts.append(Cut(milestone, kept / here))
                milestone, here = int(min(milestone * factor, horizon.epochs)), kept
            cohorts.append(Cohort(size, tuple(cuts)))
        return tuple(cohorts)

    def build(self, horizon: Horizon) -> Decider:
        from ray.tune.schedulers import HyperBandScheduler  # noqa: PLC0415 - listing needs no Ray

        class Bands(HyperBandScheduler):
            """Says which trials it lets go on; and a bracket is looked at again whenever one of its trials ends.

            Tune's own never looks at a bracket again after its first halving when a trial ends, so that the others
            would wait for one that failed.
            """

            def _unpause_trial(self, tune_controller: Any, trial: Any) -> None:
                tune_controller.release(trial)

            def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
                try:
                    return str(super()._process_bracket(tune_controller, bracket))
                finally:
                    bracket.is_being_processed = False

        scheduler = Bands(
            time_attr=TIME,
            metric=horizon.metric,
            mode=horizon.mode,
            max_t=horizon.epochs,
            reduction_factor=self.settings.reduction_factor,
            stop_last_trials=False,  # the best run to their own end; Tune would stop them at the last milestone
        )
        return Driven(scheduler, horizon, ahead=True)
