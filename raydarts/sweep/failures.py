"""How Tune's trials failed, which Tune tells no searcher; each failure is noted in the trial's failures.jsonl."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ray import tune

from raydarts.errors import StorageError
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory
from raydarts.sweep.data_parallel import EpochTimeoutError, WorkersLostError

logger = logging.getLogger("raydarts")

_LONGEST = 300


def _name(error: type[Exception]) -> str:
    return f"{error.__module__}.{error.__name__}"


_RAISED = {_name(StorageError): faults.STORAGE, _name(EpochTimeoutError): faults.TIMEOUT}
_GONE = (_name(WorkersLostError), "ActorDiedError", "ActorUnavailableError", "RayActorError", "NodeDiedError")


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
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace").rpartition("Failure #")[2]
        what, directory = _kind(text), TrialDirectory(trial.config["directory"])
        told = [line.strip() for line in text.splitlines() if line.strip()]
        message = next((line for line in reversed(told) if "Error" in line), "no error is known")[:_LONGEST]
        if what == faults.LOST and faults.of_this_attempt(directory, faults.TIMEOUT) is not None:
            return faults.TIMEOUT
        try:
            faults.note(directory, what, message)
        except StorageError as error:
            if what != faults.STORAGE:
                raise
            logger.warning("%s: not noted in failures.jsonl either: %s", directory.id, error)
        return what


def _kind(text: str) -> str:
    for name, what in _RAISED.items():
        if name in text:
            return what
    return faults.LOST if any(name in text for name in _GONE) else faults.FILES
