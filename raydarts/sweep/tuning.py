"""One stage under Ray Tune: trials come from a source, which is told how each ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ray import tune
from ray.tune import Stopper
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.stopper import NoopStopper

from raydarts.cluster.connection import ray_storage
from raydarts.config.spec import TrialsSettings
from raydarts.errors import StorageError
from raydarts.execution import drive
from raydarts.execution.failures import Failures
from raydarts.execution.gpu_memory import share_of, waits_for_more
from raydarts.execution.trainable import JobTrainable
from raydarts.genotypes.genotype import describe_genotype
from raydarts.runs import faults
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.results import TrialRecord, read_trial
from raydarts.runs.score import Score
from raydarts.storage.place import Place
from raydarts.sweep.budget import BudgetSpentError, Ledger
from raydarts.sweep.display import Display

T = TypeVar("T")


class Source(Protocol):
    """Where a stage's trials come from."""

    score: Score

    def remaining(self) -> int:
        """How many trials are still to be run."""

    def next_trial(self) -> TrialDirectory | None:
        """The next one, its trial.json written; None: there are no more."""

    def reported(self, trial: TrialDirectory, epoch: int) -> None:
        """The scheduler let a trial go on after `epoch`."""

    def ended(self, record: TrialRecord) -> None:
        """A trial that `next_trial` gave has its result."""


def _noting(method: Callable[..., T]) -> Callable[..., T]:
    """Keeps a `StorageError` of a searcher's method: Tune passes what a searcher raises on as a text."""

    @wraps(method)
    def noting(self: SourceSearch, *arguments: Any, **named: Any) -> T:
        try:
            return method(self, *arguments, **named)
        except StorageError as error:
            self.broken = error
            raise

    return noting


class SourceSearch(TuneSearcher):
    """Hands a source's trials to Tune, and writes the result of those stopped."""

    def __init__(self, source: Source, display: Display, ledger: Ledger, constants: dict[str, Any]) -> None:
        super().__init__()
        self._ledger = ledger
        self._halted: dict[str, str] = {}
        self._source = source
        self._display = display
        self._constants = constants
        self._live: dict[str, TrialDirectory] = {}
        self.failures = Failures()
        self._growing = constants["out_of_memory"] is not None
        self._again: list[TrialDirectory] = []
        self.stranded: list[str] = []
        self.broken: StorageError | None = None

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    @_noting
    def suggest(self, trial_id: str) -> Any:
        spent = (self._again or self._source.remaining() > 0) and self._ledger.deny()
        trial = None if spent else self._again.pop(0) if self._again else self._source.next_trial()
        if trial is None:
            return None if self._growing and self._live else str(TuneSearcher.FINISHED)
        self._live[trial_id] = trial
        self._display.started(trial.id)
        given = (
            {**self._constants, "gpus": share_of(trial, self._constants["gpus"])} if self._growing else self._constants
        )
        return {"id": trial.id, "directory": str(trial.path), **given}

    @_noting
    def halts(self, trial_id: str) -> bool:
        """Whether a trial that has just ended an epoch must not go on, the budget being spent."""
        trial = self._live.get(trial_id)
        if trial is None:
            return False
        self._ledger.charge(trial)
        reason = None if trial.result() is not None else self._ledger.deny()
        if reason is not None:
            self._halted[trial_id] = reason
        return reason is not None

    @_noting
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._live:
            trial, epoch = self._live[trial_id], int(result.get("epoch", 0))
            self._source.reported(trial, epoch)
            self._display.epoch(trial.id, epoch)

    @_noting
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        if trial_id in self._halted and trial.result() is None:
            trial.halt(self._halted[trial_id])
            self._display.halted(trial.id)
            return
        if error and self.failures.note(trial_id) == faults.STORAGE and trial.result() is None:
            self.stranded.append(trial.id)
            return
        if self._growing and not error and waits_for_more(trial):
            self._again.append(trial)
            return
        if trial.result() is None:
            trial.claim()
            if error:
                counted = [entry for entry in trial.failures() if entry["what"] in faults.COUNTED]
                drive.fail(trial, faults.given_up(counted, self._constants["max_failures"]))
            else:
                drive.stop(trial, describe_genotype)
        record = read_trial(trial)
        self._source.ended(record)
        self._display.finished(record.id, record.status, record.value(self._source.score), record.result.get("error"))

    def save(self, checkpoint_path: str) -> None:
        """Nothing of Tune's own files is read back."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class _Halting(Stopper):
    """Ends a trial without a result where the budget is spent."""

    def __init__(self, search: SourceSearch) -> None:
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._search.halts(trial_id)

    def stop_all(self) -> bool:
        return False

    def __reduce__(self) -> tuple[type[Stopper], tuple[()]]:
        return (NoopStopper, ())  # Tune pickles it into files of its own, which nobody reads back


def _directory_name(trial: Any) -> str:
    return f"{trial.config['id']}-{trial.trial_id}"


def common_config(settings: TrialsSettings) -> dict[str, Any]:
    """What the `JobTrainable` config of all trials of a stage has in common."""
    resources, rule = settings.resources, settings.out_of_memory
    return {
        "cpus": resources.cpus,
        "gpus": resources.gpus,
        "custom": resources.custom,
        "workers": resources.processes,
        "max_failures": settings.max_failures,
        "epoch_timeout": settings.epoch_timeout,
        "out_of_memory": None if rule is None else rule.model_dump(),
        "checkpoint_every": settings.checkpoint_every,
    }


def run_stage(
    source: Source,
    display: Display,
    ledger: Ledger,
    folder: Place,
    scheduler: Any,
    settings: TrialsSettings,
    concurrent: int,
    own_code: Sequence[str] = (),
) -> None:
    """Run a source's trials to their ends, at most `concurrent` at a time. Their processes load no code but `own_code`
    from outside raydarts.

    Raises `BudgetSpentError` where the budget did not allow that, `StorageError` where the storage kept some from it.
    """
    remaining = source.remaining()
    if remaining == 0:
        return
    rule = settings.out_of_memory
    search = SourceSearch(source, display, ledger, {**common_config(settings), "own_code": list(own_code)})
    try:
        tune.run(
            JobTrainable,
            name=f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}",
            **ray_storage(folder.parent),
            search_alg=search,
            stop=_Halting(search),
            callbacks=[search.failures],
            scheduler=scheduler,
            num_samples=remaining * (1 if rule is None else 1 + rule.retries),
            max_concurrent_trials=concurrent,  # Tune asks for so many processes at once too, else for one at a time
            max_failures=settings.max_failures,
            reuse_actors=True,
            raise_on_failed_trial=False,
            trial_dirname_creator=_directory_name,
            verbose=0,
        )
    except Exception as error:
        if search.broken is not None:
            raise search.broken from error
        raise
    if search.stranded:
        raise StorageError(
            f"{folder.parent.parent}: the storage failed {len(search.stranded)} trial(s) on their nodes more often "
            f"than max_failures allows: {', '.join(search.stranded)}. They keep what they reported; when it is mended, "
            "go on with: raydarts resume RUN"
        )
    if ledger.denied:
        raise BudgetSpentError(ledger.over())
