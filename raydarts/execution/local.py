"""An executor without Ray: trials go on in this process, in turn, an epoch each, in one fixed order.

It writes the same files as a run under Ray Tune. A lost process cannot happen here by itself: a test's job raises
`LostError`.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from raydarts.errors import ResourceError, StorageError
from raydarts.execution.executor import Handler, Loss, NotNow, TrialConfig
from raydarts.execution.group import SweepGroup
from raydarts.execution.trial import SweepTrial
from raydarts.runs import faults
from raydarts.storage.place import Place


class LostError(BaseException):
    """As if the trial's process were gone at once. `what`: lost, timeout (it hung) or preempted.

    No part of raydarts catches it before the executor does, so that the disk holds what a killed process leaves.
    """

    def __init__(self, what: str = faults.LOST) -> None:
        super().__init__(f"the process of the trial is gone: {what}")
        self.what = what


@dataclass
class _Running:
    """One giving of a trial or a group. `failures` counts its lost attempts, but no machine that was taken back."""

    key: str
    config: TrialConfig
    failures: int = 0
    trial: SweepTrial | SweepGroup | None = None

    def step(self) -> dict[str, object]:
        """Run one epoch, in a new `SweepTrial` where the last one was lost."""
        if self.trial is None:
            # This process is the driver's too: it is not ended where an epoch takes long, nor kept to the run's code.
            config = {key: value for key, value in self.config.items() if key != "own_code"}
            kind = SweepGroup if "group" in config else SweepTrial
            self.trial = kind(config | {"epoch_timeout": None})
        return self.trial.step()

    def lose(self, error: BaseException) -> Loss:
        """The attempt is lost. A process that raised an error still lives, and lets go of its job."""
        if not isinstance(error, LostError):
            self.close()
        hung = () if self.trial is None else self.trial.trials
        self.trial = None
        what = error.what if isinstance(error, LostError) else faults.FILES
        if isinstance(error, StorageError):
            what = faults.STORAGE
        self.failures += what != faults.PREEMPTED
        if what == faults.TIMEOUT:  # the hung process notes it before it ends itself
            for trial in hung:
                faults.note_timeout(trial, self.config["epoch_timeout"] or 0.0)
            what = faults.LOST
        return Loss(what, traceback.format_exception_only(error)[-1].strip())

    def close(self) -> None:
        if self.trial is not None:
            self.trial.close()
            self.trial = None


class LocalExecutor:
    """Runs trials in this process, as `TuneExecutor` does under Ray. It keeps no files of its own in `folder`, and the
    trials have one copy of their `data` anyway.
    """

    def __init__(self, folder: Place | None = None, data: object = None) -> None:
        self._live: list[_Running] = []

    def run(self, handler: Handler[TrialConfig], places: int, most: int | None, max_failures: int) -> None:
        started, ended = 0, False
        try:
            while True:
                while not ended and started != most and len(self._live) < places:
                    config = handler.start(f"{started:05d}")
                    if isinstance(config, NotNow):
                        ended = config is NotNow.NEVER
                        break
                    if config["workers"] > 1:
                        raise ResourceError("resources.workers: several workers of one trial need Ray; write 1")
                    self._live.append(_Running(f"{started:05d}", config))
                    started += 1
                if not self._live:
                    return
                for running in tuple(self._live):
                    self._advance(handler, running, max_failures)
        finally:
            for running in self._live:
                running.close()

    def _advance(self, handler: Handler[TrialConfig], running: _Running, max_failures: int) -> None:
        """One epoch of a trial, and what follows from it."""
        try:
            row = running.step()
        except (OSError, LostError) as error:
            loss, again = running.lose(error), running.failures <= max_failures
            if not again:
                self._live.remove(running)
            handler.lost(running.key, loss, again)
            return
        if not handler.reported(running.key, row) or row["done"]:
            self._live.remove(running)
            handler.ended(running.key)
            running.close()
