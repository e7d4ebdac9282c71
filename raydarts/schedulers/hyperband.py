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
from raydarts.study.scheduling import Decider


class HyperBand(Scheduler):
    """A trial waits at a milestone until all of its bracket are there; then the best 1/reduction_factor go on."""

    NAME = "hyperband"
    SOURCE = "Li et al. 2018, JMLR 18 (arXiv 1603.06560); Ray Tune HyperBandScheduler"
    PAUSES = True

    class Settings(registry.Settings):
        """Bracket s begins at max_epochs / reduction_factor^s epochs. `max_epochs` null: the most epochs any trial of
        the sweep runs.
        """

        reduction_factor: float = Field(3.0, gt=1)
        max_epochs: int | None = Field(None, ge=1)

    def idle(self, around: Around) -> Iterator[Idle]:
        yield from super().idle(around)
        last, factor = self.settings.max_epochs or around.epochs, self.settings.reduction_factor
        if last < 1:
            return
        if self.settings.max_epochs is not None and last > around.epochs:
            yield Idle("max_epochs", f"is {last}, and trials run at most {around.epochs} epochs; leave max_epochs out")
        first = 1 + round(math.log(last) / math.log(factor))  # the trials of the bracket that stops none
        if first == 1 or around.jobs <= first:
            why = (
                f"has {first} trials in its first bracket, which stops none, and there are {around.jobs} in all"
                if first > 1
                else f"has one bracket at max_epochs {last}, which stops none"
            )
            yield Idle("", f"{why}; write scheduler: asha, or fifo")

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
            max_t=self.settings.max_epochs or horizon.epochs,
            reduction_factor=self.settings.reduction_factor,
        )
        return Driven(scheduler, horizon, ahead=True)
