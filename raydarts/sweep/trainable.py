"""What Ray Tune runs: one class for searches and evaluations, an epoch a step.

The checkpoints are raydarts' own: a process that is lost is started again by Tune from nothing, and
the first step takes up from the newest checkpoint in the trial's folder.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from ray import tune

from raydarts import tracking
from raydarts.runs import drive
from raydarts.runs.directory import FINAL, SupersededError, TrialDirectory
from raydarts.runs.job import Job
from raydarts.runs.observer import Observers
from raydarts.runs.stages import run_of
from raydarts.spaces.genotype import describe_genotype
from raydarts.sweep.data_parallel import Workers
from raydarts.sweep.jobs import job_of
from raydarts.sweep.visibility import check_trial


class JobTrainable(tune.Trainable):
    """One trial. Its config: `id`, `directory`, `cpus`, `gpus` and `workers` (see `Resources`), `checkpoint_every`.

    A job's own exception ends the trial as failed, without a retry: it would happen again. An OSError
    goes to Tune, which tries again, as it does when the process or the node is lost.
    """

    def setup(self, config: dict[str, Any]) -> None:
        # Nothing is claimed or built before the first step: while an actor still starts, Tune may hand
        # its trial to a reused one, and the late starter must not take the trial away from it.
        self._pending: dict[str, Any] | None = config
        self._job: Job | None = None
        self._workers: Workers | None = None
        self._observers = Observers()
        self._row: Mapping[str, Any] = {}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def _open(self, config: dict[str, Any]) -> None:
        self._pending = None
        self._every = int(config["checkpoint_every"])
        self._trial = TrialDirectory(config["directory"])
        check_trial(self._trial)
        result = self._trial.result()
        if result is not None and result["status"] in FINAL:
            self._read_row()
            return
        if config["workers"] > 1:
            self._workers = Workers(config, run_of(self._trial).path / "ray" / "train")
            return
        self._trial.claim()
        self._job = drive.open_job(lambda: job_of(self._trial, config), self._trial)
        self._read_row()
        self._observers = tracking.observers(self._trial)

    def step(self) -> dict[str, Any]:
        try:
            if self._pending is not None:
                self._open(self._pending)
            if self._workers is not None:
                more = self._workers.wait()
                self._read_row()
                return self._scalars(done=not more)
            if self._job is not None and not self._job.finished:
                self._row = drive.advance(self._job, self._trial, self._every)
                self._observers.epoch(self._row)
            if self._job is not None and not self._job.finished:
                return self._scalars(done=False)
            if self._job is not None:
                self._observers.finished(drive.finish(self._job, self._trial, describe_genotype))
        except OSError:
            raise
        except SupersededError:
            self._job = None
        except Exception as error:
            self._job = None
            self._observers.finished(drive.fail(self._trial, error))
        return self._scalars(done=True)

    def _read_row(self) -> None:
        rows = self._trial.rows()
        self._row = rows[-1] if rows else {}

    def _scalars(self, done: bool) -> dict[str, Any]:
        """The last row's finite numbers: what a scheduler and the display read."""
        numbers = {
            key: value
            for key, value in self._row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        return {"epoch": 0, **numbers, "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: see the module's docstring."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing."""

    def cleanup(self) -> None:
        """Let go of the job and of the GPU memory it held."""
        self._job = None
        if self._workers is not None:
            self._workers.leave()
            self._workers = None
        self._observers.close()
        torch = sys.modules.get("torch")  # where no job loaded it there is nothing to let go of
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
