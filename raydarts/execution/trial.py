"""A trial of a sweep in the process that it was given to: a step an epoch, under Ray Tune and in this process alike."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from raydarts.cluster.visibility import check_trial
from raydarts.execution import drive, gpu_memory
from raydarts.execution.attempt import Attempt
from raydarts.execution.data_parallel import Workers
from raydarts.execution.jobs import job_of, restrict_code
from raydarts.execution.watchdog import Watchdog
from raydarts.runs import faults, memory
from raydarts.runs.directory import FINAL, SupersededError, TrialDirectory
from raydarts.runs.folders import run_of


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
        restrict_code(config)
        self._opened = False
        self._attempt: Attempt | None = None
        self._workers: Workers | None = None

    def step(self) -> dict[str, Any]:
        """Run one epoch. Returns the newest row's finite numbers, and `done`: whether the trial has ended here."""
        limit = self._config["epoch_timeout"] if self._config["workers"] == 1 else None  # workers watch themselves
        try:
            with Watchdog(limit, lambda: faults.note_timeout(self._trial, self._config["epoch_timeout"])):
                return self._scalars(done=not self._goes_on())
        except OSError:
            raise
        except SupersededError:
            return self._scalars(done=True)
        except Exception as error:
            self._fail(error)
        return self._scalars(done=True)

    def _goes_on(self) -> bool:
        """Run one epoch. Returns whether one is left."""
        if not self._opened:
            self._opened = True
            self._trial = TrialDirectory(self._config["directory"])
            self._open()
        if self._workers is not None:
            return self._workers.wait()
        if self._attempt is None:
            return False
        if not self._attempt.finished:
            self._attempt.advance()
        if self._attempt.finished:
            self._attempt.finish()
            return False
        return True

    def _open(self) -> None:
        """Open the trial's attempt, or start its workers. A trial that has ended, or was hit too often, has neither."""
        check_trial(self._trial)
        if (self._trial.result() or {}).get("status") in FINAL:
            return
        if (reason := faults.too_many(self._trial, self._config["max_failures"])) is not None:
            self._trial.claim()
            drive.fail(self._trial, reason)
            return
        if self._config["workers"] > 1:
            self._workers = Workers(dict(self._config), run_of(self._trial).path / "ray" / "train")
            return
        self._trial.claim()
        every = int(self._config["checkpoint_every"])
        self._attempt = Attempt(self._trial, lambda: job_of(self._trial, self._config), every)
        self._attempt.open()

    def _fail(self, error: Exception) -> None:
        """Write the failed result, unless the GPU was full and the trial waits for a larger share of it."""
        if memory.gpu_is_full(error):
            failure: Exception | None = gpu_memory.after(self._trial, self._config, error)
        else:
            failure = memory.advised(error, self._trial)
        if self._attempt is None:
            if failure is not None:
                drive.fail(self._trial, failure)
            return
        if failure is not None:
            self._attempt.fail(failure)
        self._attempt.close()  # at once, so that others have the memory

    def _scalars(self, done: bool) -> dict[str, Any]:
        """The newest row's finite numbers: what a scheduler and the display read."""
        row = (self._trial.rows() or [{}])[-1] if self._attempt is None else self._attempt.row
        numbers = {
            key: value
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        return {"epoch": 0, **numbers, "done": done}

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
