"""An executor that trains nothing: trials report the rows of an earlier run, on a virtual clock.

An epoch takes one unit of time in every trial. Trials that report at the same time do so in the order in which they
reported before. So a replay depends on nothing but its rows, its order and its number of places.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raydarts.execution.executor import Handler, Loss, NotNow


@dataclass(frozen=True)
class RecordedTrial:
    """A trial whose rows are known. `epoch`: the last one that was run before; 0: none.

    `whole`: if it is False, the trial is lost where its rows end.
    """

    rows: Sequence[Mapping[str, object]]
    epoch: int
    whole: bool


@dataclass
class _Running:
    """One giving of a trial. `epoch`: the last one it has run."""

    key: str
    rows: Sequence[Mapping[str, object]]
    epoch: int
    whole: bool


class RecordedExecutor:
    """Runs trials whose rows are known.

    `clock`: the time now, and at last the time at the end of the run. `epochs`: how many were run in all.
    """

    def __init__(self) -> None:
        self.clock: float = 0
        self.epochs = 0

    def run(self, handler: Handler[RecordedTrial], places: int, most: int | None = None, max_failures: int = 0) -> None:
        queue: list[tuple[float, int, _Running]] = []
        started, turn, ended = 0, 0, False
        while True:
            while not ended and started != most and len(queue) < places:
                trial = handler.start(str(started))
                if isinstance(trial, NotNow):
                    ended = trial is NotNow.NEVER
                    break
                running = _Running(str(started), trial.rows, trial.epoch, trial.whole)
                heapq.heappush(queue, (self.clock + self.lasts(running.key, running.epoch + 1), turn, running))
                started, turn = started + 1, turn + 1
            if not queue:
                return
            self.clock, _, running = heapq.heappop(queue)
            if self._advance(handler, running):
                heapq.heappush(queue, (self.clock + self.lasts(running.key, running.epoch + 1), turn, running))
                turn += 1

    def lasts(self, key: str, epoch: int) -> float:
        """The time that an epoch of a trial takes. `key`: that of the giving."""
        return 1

    def _advance(self, handler: Handler[RecordedTrial], running: _Running) -> bool:
        """One epoch of a trial, and what follows from it. Returns whether the trial goes on."""
        row = running.rows[running.epoch]
        running.epoch += 1
        self.epochs += 1
        last = running.epoch == len(running.rows)
        goes_on = handler.reported(running.key, {**row, "done": last and running.whole})
        if goes_on and not last:
            return True
        if goes_on and not running.whole:
            handler.lost(running.key, Loss("lost", f"its record ends after epoch {running.epoch}"), again=False)
        else:
            handler.ended(running.key)
        return False
