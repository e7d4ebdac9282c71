"""How Tune's trials failed, which Tune tells no searcher; each failure is noted in the trial's failures.jsonl."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from ray import tune

from raydarts.cluster import head
from raydarts.errors import StorageError
from raydarts.execution.data_parallel import WorkersLostError, free_leftover
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory

logger = logging.getLogger("raydarts")

_LONGEST = 300


def _name(error: type[Exception]) -> str:
    return f"{error.__module__}.{error.__name__}"


_RAISED = {
    _name(StorageError): faults.STORAGE,
    _name(WorkersLostError): faults.LOST,
}
_FAILURE = re.compile(r"^Failure # (\d+) \(occurred at .*\)$", re.MULTILINE)


class Failures(tune.Callback):
    """Told by Tune of each failure, before the trial is tried again."""

    def __init__(self) -> None:
        self._trials: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._trials[trial.trial_id] = trial

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._trials[trial.trial_id] = trial
        self.note(trial.trial_id)

    def note(self, trial_id: str) -> str | None:
        """Note a trial's last failure where its own process did not. Returns what it was; None: Tune kept no error."""
        trial = self._trials.get(trial_id)
        if trial is None or not trial.error_file or not Path(trial.error_file).exists():
            return None
        what, message = read_failure(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
        if what in (faults.LOST, faults.PREEMPTED):
            head.settle()
        directory = TrialDirectory(trial.config["directory"])
        try:
            if trial.config["workers"] > 1:
                free_leftover(directory)
            if what == faults.LOST and faults.of_this_attempt(directory, faults.TIMEOUT) is not None:
                return faults.TIMEOUT
            faults.note(directory, what, message)
        except StorageError as error:
            if what != faults.STORAGE:
                raise
            logger.warning("%s: not noted in failures.jsonl either: %s", directory.id, error)
        return what


def read_failure(text: str) -> tuple[str, str]:
    """What the last failure in Tune's error file was, and its last line.

    A failure that Tune does not count, the number before its time being the one before, was a machine taken back.
    """
    numbers = [0, *(int(number) for number in _FAILURE.findall(text))]
    last = _FAILURE.split(text)[-1].strip()
    message = (last.splitlines() or ["no error is known"])[-1].strip()[:_LONGEST]
    for name, what in _RAISED.items():
        if name in last:
            return what, message
    if "ray::" in last:  # raised by the trial's process, which lives
        return faults.FILES, message
    return faults.PREEMPTED if len(numbers) > 1 and numbers[-1] == numbers[-2] else faults.LOST, message
