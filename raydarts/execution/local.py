"""`run` is Ray Tune's `run` without Ray: trials go on in this process, in turn, an epoch each.

All that asks Tune for something (`sweep/`) works with it unchanged, and writes the same files. Trials and their epochs
come in one fixed order. A lost process cannot happen here by itself: a test's job raises `LostError`.
"""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raydarts.errors import ResourceError
from raydarts.execution.trial import SweepTrial
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory

FINISHED, STOP = "FINISHED", "STOP"
"""What Tune's searchers return where there are no more trials, and its schedulers where a trial is to end."""


class LostError(BaseException):
    """As if the trial's process were gone at once. `what`: lost, timeout (it hung) or preempted.

    No part of raydarts catches it before `run` does, so that the disk holds what a killed process leaves.
    """

    def __init__(self, what: str = faults.LOST) -> None:
        super().__init__(f"the process of the trial is gone: {what}")
        self.what = what


@dataclass
class LocalTrial:
    """One trial of Tune's, as far as its callbacks, searchers and schedulers look at it."""

    trial_id: str
    config: dict[str, Any]
    error_file: str
    failures: int = 0
    running: SweepTrial | None = None

    def step(self) -> dict[str, Any]:
        """Run one epoch, in a new `SweepTrial` where the last one was lost."""
        if self.running is None:
            # This process is the driver's too: it is not ended where an epoch takes long, nor kept to the run's code.
            config = {key: value for key, value in self.config.items() if key != "own_code"}
            self.running = SweepTrial(config | {"epoch_timeout": None})
        return {**self.running.step(), "trial_id": self.trial_id}

    def lose(self, error: BaseException) -> None:
        """Note a failure as Tune does in its error file: the number of it stays where a machine was taken back."""
        alive = not isinstance(error, LostError)
        if alive and self.running is not None:
            self.running.close()
        self.running = None
        if not (isinstance(error, LostError) and error.what == faults.PREEMPTED):
            self.failures += 1
        if isinstance(error, LostError) and error.what == faults.TIMEOUT:
            faults.note_timeout(TrialDirectory(self.config["directory"]), self.config["epoch_timeout"])
        text = "ray::" * alive + "".join(traceback.format_exception(error))
        with Path(self.error_file).open("a", encoding="utf-8") as file:
            file.write(f"Failure # {self.failures} (occurred at this moment)\n{text}\n")

    def close(self) -> None:
        if self.running is not None:
            self.running.close()
            self.running = None


class _Executor:
    """The trials under way, and whom to ask and to tell: a searcher, a scheduler, a stopper and callbacks of Tune's."""

    def __init__(
        self, folder: Path, search_alg: Any, scheduler: Any, stop: Any, callbacks: Sequence[Any], max_failures: int
    ) -> None:
        self._folder = folder
        self._search = search_alg
        self._scheduler = scheduler
        self._stop = stop
        self._callbacks = callbacks
        self._max_failures = max_failures
        self._all: list[LocalTrial] = []
        self.live: list[LocalTrial] = []

    def start(self) -> str | None:
        """Start the next trial. Returns None where one was started, else why not: FINISHED, or "later"."""
        number = len(self._all)
        name = f"{number:05d}"
        config = self._search.suggest(name)
        if config is None or config == FINISHED:
            return FINISHED if config == FINISHED else "later"
        if config["workers"] > 1:
            raise ResourceError("resources.workers: several workers of one trial need Ray; write 1")
        trial = LocalTrial(name, dict(config), str(self._folder / f"{number}.txt"))
        self._all.append(trial)
        self.live.append(trial)
        self._scheduler.on_trial_add(None, trial)
        for callback in self._callbacks:
            callback.on_trial_start(iteration=number, trials=self._all, trial=trial)
        return None

    def advance(self, trial: LocalTrial) -> None:
        """One epoch of a trial, and what follows from it."""
        try:
            result = trial.step()
        except (OSError, LostError) as error:
            self._failed(trial, error)
            return
        if self._ends(trial, result):
            self.live.remove(trial)
            self._scheduler.on_trial_complete(None, trial, result)
            self._search.on_trial_complete(trial.trial_id, result)
            trial.close()

    def _ends(self, trial: LocalTrial, result: Mapping[str, Any]) -> bool:
        """In Tune's order: the stopper is asked of every epoch, the scheduler of those after which one is left."""
        if self._stop(trial.trial_id, result) or result["done"]:
            return True
        if self._scheduler.on_trial_result(None, trial, dict(result)) == STOP:
            return True
        self._search.on_trial_result(trial.trial_id, dict(result))
        return False

    def _failed(self, trial: LocalTrial, error: BaseException) -> None:
        """Tune tries a trial again that failed `max_failures` times or less."""
        trial.lose(error)
        if trial.failures <= self._max_failures:
            for callback in self._callbacks:
                callback.on_trial_recover(iteration=0, trials=self._all, trial=trial)
            return
        self.live.remove(trial)
        self._scheduler.on_trial_error(None, trial)
        self._search.on_trial_complete(trial.trial_id, error=True)

    def close(self) -> None:
        for trial in self.live:
            trial.close()


def run(
    trainable: Any,
    *,
    search_alg: Any,
    scheduler: Any,
    stop: Any,
    callbacks: Sequence[Any],
    num_samples: int,
    max_concurrent_trials: int,
    max_failures: int,
    **of_processes: Any,
) -> None:
    """Run the trials that `search_alg` suggests, at most `num_samples` (-1: any number), to their ends.

    At most `max_concurrent_trials` are under way: each runs an epoch, then it is the next one's turn. `trainable` and
    `of_processes` are about Ray's processes and Tune's own files, which there are none of: a trial is a `SweepTrial`.
    """
    with tempfile.TemporaryDirectory(prefix="raydarts-local-") as folder:
        executor = _Executor(Path(folder), search_alg, scheduler, stop, callbacks, max_failures)
        left, ended = num_samples, False
        try:
            while True:
                while not ended and left != 0 and len(executor.live) < max_concurrent_trials:
                    why_not = executor.start()
                    if why_not is not None:
                        ended = why_not == FINISHED
                        break
                    left -= 1
                if not executor.live:
                    return
                for trial in tuple(executor.live):
                    executor.advance(trial)
        finally:
            executor.close()
