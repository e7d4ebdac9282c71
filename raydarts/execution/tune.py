"""Ray Tune as an executor. It asks the handler for trials, and for an answer after each epoch.

Tune decides nothing here. To Tune a trial that waits has ended: its process and its place go to another. When it goes
on it is given to Tune again as another trial. So Tune keeps no state of it, and it is the same to the next driver.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from ray import tune
from ray.air._internal import usage
from ray.tune import Stopper
from ray.tune.search import Searcher
from ray.tune.stopper import NoopStopper

from raydarts.cluster.connection import ray_storage
from raydarts.errors import StorageError
from raydarts.execution.data_parallel import WorkersLostError
from raydarts.execution.executor import Handler, Loss, NotNow, TrialConfig
from raydarts.execution.shared_data import Copies
from raydarts.execution.trainable import trainable_with
from raydarts.runs import faults
from raydarts.storage.place import Place

T = TypeVar("T")
_LONGEST = 300


def _name(error: type[Exception]) -> str:
    return f"{error.__module__}.{error.__name__}"


_RAISED = {
    _name(StorageError): faults.STORAGE,
    _name(WorkersLostError): faults.LOST,
}
_FAILURE = re.compile(r"^Failure # (\d+) \(occurred at .*\)$", re.MULTILINE)


def read_failure(text: str) -> Loss:
    """The last failure in Tune's error file, with its last line.

    A failure that Tune does not count, the number before its time being the one before, was a machine taken back.
    """
    numbers = [0, *(int(number) for number in _FAILURE.findall(text))]
    last = _FAILURE.split(text)[-1].strip()
    message = (last.splitlines() or ["no error is known"])[-1].strip()[:_LONGEST]
    for name, what in _RAISED.items():
        if name in last:
            return Loss(what, message)
    if "ray::" in last:  # raised by the trial's process, which lives
        return Loss(faults.FILES, message)
    return Loss(faults.PREEMPTED if len(numbers) > 1 and numbers[-1] == numbers[-2] else faults.LOST, message)


def _keeping(method: Callable[..., T]) -> Callable[..., T]:
    """Keeps the handler's exception: Tune passes on only its text."""

    @wraps(method)
    def keeping(self: _Asking, *arguments: Any, **named: Any) -> T:
        try:
            return method(self, *arguments, **named)
        except Exception as error:
            self.broken = error
            raise

    return keeping


class _Asking(Searcher):
    """The side of Tune that gives trials and hears of their ends."""

    def __init__(self, handler: Handler[TrialConfig]) -> None:
        super().__init__()
        self._handler = handler
        self._trials: dict[str, Any] = {}
        self.broken: Exception | None = None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    @_keeping
    def suggest(self, trial_id: str) -> Any:
        config = self._handler.start(trial_id)
        if isinstance(config, NotNow):
            return None if config is NotNow.LATER else str(Searcher.FINISHED)
        return dict(config)

    @_keeping
    def stops(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return not self._handler.reported(trial_id, result)

    @_keeping
    def lost(self, trial: Any, again: bool) -> None:
        self._trials[trial.trial_id] = trial
        if again:
            self._handler.lost(trial.trial_id, self._loss(trial.trial_id), again=True)

    def started(self, trial: Any) -> None:
        self._trials[trial.trial_id] = trial

    def _loss(self, trial_id: str) -> Loss:
        trial = self._trials.get(trial_id)
        if trial is None or not trial.error_file or not Path(trial.error_file).exists():
            return Loss("", "no error is known")
        return read_failure(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))

    @_keeping
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            self._handler.lost(trial_id, self._loss(trial_id), again=False)
        else:
            self._handler.ended(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing of Tune's own files is read back."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class _Answers(Stopper):
    """Tune asks it after every epoch of a trial, the last one too."""

    def __init__(self, asking: _Asking) -> None:
        self._asking = asking

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._asking.stops(trial_id, result)

    def stop_all(self) -> bool:
        return False

    def __reduce__(self) -> tuple[type[Stopper], tuple[()]]:
        return (NoopStopper, ())  # Tune pickles it into files of its own, which nobody reads back


class _Failures(tune.Callback):
    """Tune tells a searcher of no failure after which the trial is tried again."""

    def __init__(self, asking: _Asking) -> None:
        self._asking = asking

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._asking.started(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._asking.lost(trial, again=True)


class _Silent(tune.ProgressReporter):
    """Reports nothing. In a notebook Tune's own reporter wipes out what the cell shows, whatever `verbose` says."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: str) -> None:
        """Nothing."""


def _count_no_callbacks() -> None:
    """Tune counts callbacks for Ray's usage statistics, which are off. For that it imports W&B and others: .5 s."""
    if hasattr(usage, "tag_callbacks"):
        usage.tag_callbacks = lambda callbacks: False


def _directory_name(trial: Any) -> str:
    return f"{trial.config['id']}-{trial.trial_id}"


class TuneExecutor:
    """Runs trials by `tune.run`.

    `folder`: where Tune keeps files of its own, which nobody reads back. `data`: puts the trials' data into the object
    store, and returns where they lie. None: each process loads them for itself.
    """

    def __init__(self, folder: Place, data: Callable[[], Copies] | None = None) -> None:
        self._folder = folder
        self._data = data

    def run(self, handler: Handler[TrialConfig], places: int, most: int | None, max_failures: int) -> None:
        asking = _Asking(handler)
        _count_no_callbacks()
        try:
            tune.run(
                trainable_with({} if self._data is None else self._data()),
                name=f"{self._folder.name}-{time.strftime('%Y%m%d-%H%M%S')}",
                **ray_storage(self._folder.parent),
                search_alg=asking,
                stop=_Answers(asking),
                callbacks=[_Failures(asking)],
                num_samples=-1 if most is None else most,
                max_concurrent_trials=places,  # Tune asks for so many processes at once too, else for one at a time
                max_failures=max_failures,
                reuse_actors=True,
                raise_on_failed_trial=False,
                trial_dirname_creator=_directory_name,
                verbose=0,
                progress_reporter=_Silent(),
            )
        except Exception as error:
            if asking.broken is not None:
                raise asking.broken from error
            raise
