"""One attempt at a trial: its job is opened, advanced epoch by epoch, observed, and finished or failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from raydarts import trackers
from raydarts.execution import drive
from raydarts.execution.job import Job
from raydarts.genotypes.genotype import describe_genotype
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.observer import Observers


class Attempt:
    """Runs a trial's job in this process: `open`, then `advance` until `finished`, then `finish`. Or `fail`.

    Each step is on disk before observers hear of it. The trial must be claimed first: a newer attempt that claims it
    makes the next write raise `SupersededError`. `close` lets go of the job and of the observers; a `with` block does
    that at its end.

    `build` makes the job, not begun. `every`: a checkpoint is written after so many epochs. `watch` is entered for each
    piece of work, observers left out: a `Watchdog`, where an epoch has a limit of time.
    """

    def __init__(
        self,
        trial: TrialDirectory,
        build: Callable[[], Job],
        every: int = 1,
        watch: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.trial = trial
        self.row: Mapping[str, Any] = {}
        """The newest metrics row; empty before the first epoch."""
        self.timing: Mapping[str, Any] = {}
        """When and where the newest epoch ran; empty before this attempt has run one."""
        self._build = build
        self._every = every
        self._watch = nullcontext() if watch is None else watch
        self._job: Job | None = None
        self._observers = Observers()

    def open(self) -> None:
        """Build the job and load the newest checkpoint that can be used. Observers are told of all that follows."""
        with self._watch:
            self._job = drive.open_job(self._build, self.trial)
            rows = self.trial.rows()
            self.row = rows[-1] if rows else {}
        self._observers = trackers.observers(self.trial)

    @property
    def job(self) -> Job:
        """The open job."""
        if self._job is None:
            raise RuntimeError(f"{self.trial.id}: its job is not open")
        return self._job

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return self.job.finished

    def advance(self) -> Mapping[str, Any]:
        """Run one epoch and keep it. Returns its metrics row."""
        with self._watch:
            self._keep(drive.ran(self.job))
        self._observers.epoch(self.row)
        return self.row

    def keep(self, ran: drive.Ran) -> Mapping[str, Any]:
        """Keep an epoch that the job has run together with others. Returns its metrics row."""
        with self._watch:
            self._keep(ran)
        self._observers.epoch(self.row)
        return self.row

    def _keep(self, ran: drive.Ran) -> None:
        self.row = drive.keep(self.job, self.trial, ran, self._every)
        self.timing = drive.timed(self.job, self.row, ran)

    def finish(self) -> dict[str, Any]:
        """Write the finished job's result. Returns it."""
        with self._watch:
            result = drive.finish(self.job, self.trial, describe_genotype)
        self._observers.finished(result)
        return result

    def fail(self, error: BaseException) -> dict[str, Any]:
        """Write the result of a trial that failed by `error`. Returns it."""
        result = drive.fail(self.trial, error)
        self._observers.finished(result)
        return result

    def close(self) -> None:
        """Let go of the job and its memory, and of the observers."""
        self._job = None
        self._observers.close()

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
