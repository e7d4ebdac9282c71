"""One stage under Ray Tune: trials come from a source, which is told how each ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ray import tune
from ray.tune import Stopper
from ray.tune.schedulers import FIFOScheduler
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
from raydarts.storage.place import Place
from raydarts.study.history import Decision
from raydarts.study.objectives import Score
from raydarts.sweep.budget import BudgetSpentError, Ledger
from raydarts.sweep.display import Display

T = TypeVar("T")
PAUSED = "paused by the scheduler: it waits for other trials"


class Source(Protocol):
    """Where a stage's trials come from."""

    score: Score
    pauses: bool
    """Whether `reported` may say that a trial is to wait. `next_trial` gives it again when it may go on."""

    def remaining(self) -> int:
        """How many trials are still to be run, or wait."""

    def next_trial(self, idle: bool) -> TrialDirectory | None:
        """The next one to run, its trial.json written; None: there is none now. `idle`: no other trial runs."""

    def reported(self, trial: TrialDirectory, epoch: int, row: Mapping[str, Any]) -> Decision:
        """A trial has ended an epoch with the figures in `row`. Returns what is decided on it, which is on disk."""

    def ended(self, record: TrialRecord) -> None:
        """A trial that `next_trial` gave has its result."""

    def reason(self, trial: TrialDirectory) -> str | None:
        """Why a rule of the sweep stopped a trial; None: none did."""

    def settled(self) -> list[TrialRecord]:
        """The trials that were stopped while they waited, each once."""


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
        self._paused: set[str] = set()
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
        trial = None
        if not spent:
            trial = self._again.pop(0) if self._again else self._source.next_trial(not self._live)
        self._show_settled()
        if trial is None:
            more = self._growing or self._source.pauses  # a trial that runs now may have to be given again
            return None if more and self._live else str(TuneSearcher.FINISHED)
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
    def goes_on(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Ask the source what follows from an epoch. Where it says pause, the trial's process is let go of."""
        trial, epoch = self._live.get(trial_id), int(result.get("epoch", 0))
        if trial is None or epoch == 0:
            return True
        self._display.epoch(trial.id, epoch)
        decision = self._source.reported(trial, epoch, result)
        if decision is Decision.PAUSE:
            self._paused.add(trial_id)
        self._show_settled()
        return decision is Decision.CONTINUE

    @_noting
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._live.pop(trial_id, None)
        if trial is None:
            return
        if trial_id in self._paused:
            self._paused.remove(trial_id)
            trial.claim()
            trial.halt(PAUSED)
            self._display.paused(trial.id)
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
                drive.stop(trial, describe_genotype, self._source.reason(trial))
        record = read_trial(trial)
        self._source.ended(record)
        self._show(record)
        self._show_settled()

    def _show(self, record: TrialRecord) -> None:
        self._display.finished(record)

    def _show_settled(self) -> None:
        for record in self._source.settled():
            self._show(record)

    def save(self, checkpoint_path: str) -> None:
        """Nothing of Tune's own files is read back."""
        Path(checkpoint_path).write_text("{}", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class _Asking(FIFOScheduler):
    """Tune's side of a scheduler: it asks the source, which has one of its own.

    To Tune a paused trial has ended. It is given to Tune again as another trial when it goes on, from its newest
    checkpoint in the run. So Tune keeps no state of it, and a paused trial is the same to the next driver.
    """

    def __init__(self, search: SourceSearch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self.CONTINUE if self._search.goes_on(trial.trial_id, result) else self.STOP


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
            scheduler=_Asking(search),
            num_samples=-1 if source.pauses else remaining * (1 if rule is None else 1 + rule.retries),
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
