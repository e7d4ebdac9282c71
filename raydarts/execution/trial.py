"""A trial of a sweep in the process that it was given to: a step an epoch, under Ray Tune and in this process alike."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from raydarts.cluster.visibility import check_trial
from raydarts.execution import drive, gpu_memory
from raydarts.execution.attempt import Attempt
from raydarts.execution.capture import Capture
from raydarts.execution.data_parallel import Workers
from raydarts.execution.drive import Ran
from raydarts.execution.job import Job
from raydarts.execution.jobs import job_of, restrict_code
from raydarts.execution.watchdog import Watchdog
from raydarts.runs import faults, memory
from raydarts.runs.directory import FINAL, SupersededError, TrialDirectory
from raydarts.runs.folders import run_of
from raydarts.runs.log import TrialLog


class SweepTrial:
    """Runs the trial that `config` names, a `step` an epoch.

    `config`: `id`, `directory`, `cpus`, `gpus` and `workers` (see `Resources`), `max_failures`, `epoch_timeout`,
    `out_of_memory` and `checkpoint_every` (see `TrialsSettings`), and `own_code`: the names of code from outside
    raydarts that the run may load, so that a trial's files cannot name other code.

    A job's own exception ends the trial as failed, without a retry: it would happen again. An OSError is raised to
    whoever runs the trial, who tries again, as where the process or the node is lost.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        # Nothing is claimed or built before the first step: while an actor still starts, Tune may hand
        # its trial to a reused one, and the late starter must not take the trial away from it.
        self._config = config
        self.trial = TrialDirectory(config["directory"])
        restrict_code(config)
        self._opened = False
        self._attempt: Attempt | None = None
        self._workers: Workers | None = None
        self.log = TrialLog(self.trial)

    @property
    def trials(self) -> list[TrialDirectory]:
        """The folders of what it runs: of one trial."""
        return [self.trial]

    def step(self) -> dict[str, Any]:
        """Run one epoch. Returns the newest row's finite numbers, and `done`: whether the trial has ended here."""
        return self._guarded(self._watched_epoch)

    def _guarded(self, work: Callable[[], bool]) -> dict[str, Any]:
        """Do a part of the trial's work, which returns whether the trial goes on. Returns what `step` returns."""
        with Capture([self.log]) as capture:
            try:
                return self._scalars(done=not work())
            except OSError:
                capture.add(traceback.format_exc())
                raise
            except SupersededError:
                return self._scalars(done=True)
            except Exception as error:
                capture.add(traceback.format_exc())
                self._fail(error)
            return self._scalars(done=True)

    def _watched_epoch(self) -> bool:
        limit = self._config["epoch_timeout"] if self._config["workers"] == 1 else None  # workers watch themselves
        with Watchdog(limit, lambda: faults.note_timeout(self.trial, self._config["epoch_timeout"])):
            return self._goes_on()

    def _goes_on(self) -> bool:
        """Run one epoch. Returns whether one is left."""
        self._ensure_open()
        if self._workers is not None:
            return self._workers.wait()
        if self._attempt is None:
            return False
        if not self._attempt.finished:
            self._attempt.advance()
        return self._left()

    def _left(self) -> bool:
        """Whether an epoch is left. If none is, the result is written."""
        if self._attempt is None or not self._attempt.finished:
            return self._attempt is not None
        self._attempt.finish()
        return False

    # As a lane of a `SweepGroup`, which runs the epochs of several trials together

    def begin(self) -> dict[str, Any]:
        """Open the trial, and run no epoch. Returns what `step` returns."""

        def opened() -> bool:
            self._ensure_open()
            return self._left()

        return self._guarded(opened)

    @property
    def job(self) -> Job:
        """The open job."""
        if self._attempt is None:
            raise RuntimeError(f"{self._config['id']}: its job is not open")
        return self._attempt.job

    def keep(self, ran: Ran | Exception) -> dict[str, Any]:
        """Keep an epoch that the job has run, or the error that ended it. Returns what `step` returns."""

        def kept() -> bool:
            if isinstance(ran, Exception):
                raise ran
            if self._attempt is not None:
                self._attempt.keep(ran)
            return self._left()

        return self._guarded(kept)

    def take_up(self) -> dict[str, Any]:
        """Let the job go, whatever state it is in, and open the trial anew from its newest checkpoint."""
        self.close()
        self._opened = False
        return self.begin()

    def _ensure_open(self) -> None:
        if not self._opened:
            self._opened = True
            self._open()

    def _open(self) -> None:
        """Open the trial's attempt, or start its workers. A trial that has ended, or was hit too often, has neither."""
        check_trial(self.trial)
        if (self.trial.result() or {}).get("status") in FINAL:
            return
        if (reason := faults.too_many(self.trial, self._config["max_failures"])) is not None:
            self.trial.claim()
            drive.fail(self.trial, reason)
            return
        if self._config["workers"] > 1:
            self._workers = Workers(dict(self._config), run_of(self.trial).path / "ray" / "train")
            return
        self.trial.claim()
        every = int(self._config["checkpoint_every"])
        self._attempt = Attempt(self.trial, lambda: job_of(self.trial, self._config), every)
        self._attempt.open()
        self.log.head(self._attempt.job.epoch + 1)

    def _fail(self, error: Exception) -> None:
        """Write the failed result, unless the GPU was full and the trial waits for a larger share of it."""
        if memory.gpu_is_full(error):
            failure: Exception | None = gpu_memory.after(self.trial, self._config, error)
        else:
            failure = memory.advised(error, self.trial)
        if self._attempt is None:
            if failure is not None:
                drive.fail(self.trial, failure)
            return
        if failure is not None:
            self._attempt.fail(failure)
        self._attempt.close()  # at once, so that others have the memory

    def _scalars(self, done: bool) -> dict[str, Any]:
        """The newest row's finite numbers, and when and where that epoch ran: what a scheduler and the display read."""
        row = (self.trial.rows() or [{}])[-1] if self._attempt is None else self._attempt.row
        numbers = {
            key: value
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        timing = [self._attempt.timing] if self._attempt is not None else self.trial.times()
        return {"epoch": 0, **numbers, "timing": dict(timing[-1]) if timing else {}, "done": done}

    def close(self) -> None:
        """Let go of the job, of the workers, and of the GPU memory the job held."""
        if self._workers is not None:
            self._workers.leave()
            self._workers = None
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None
        torch = sys.modules.get("torch")  # where no job loaded it there is nothing to let go of
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
