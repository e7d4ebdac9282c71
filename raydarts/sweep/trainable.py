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

from raydarts import trackers
from raydarts.cluster.visibility import check_trial
from raydarts.genotypes.genotype import describe_genotype
from raydarts.runs import drive, faults, memory
from raydarts.runs.directory import FINAL, SupersededError, TrialDirectory
from raydarts.runs.job import Job
from raydarts.runs.observer import Observers
from raydarts.runs.stages import run_of
from raydarts.sweep import gpu_memory
from raydarts.sweep.data_parallel import Workers
from raydarts.sweep.jobs import bundle, job_of, restrict_code
from raydarts.sweep.watchdog import Watchdog


class JobTrainable(tune.Trainable):
    """One trial. Its config: `id`, `directory`, `cpus`, `gpus` and `workers` (see `Resources`), `max_failures`,
    `epoch_timeout`, `out_of_memory` and `checkpoint_every` (see `TrialsSettings`), and `own_code`: the names of code
    from outside raydarts that the run may load, so that a trial's files cannot name other code.

    A job's own exception ends the trial as failed, without a retry: it would happen again. An OSError
    goes to Tune, which tries again, as it does when the process or the node is lost.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What Tune gives a trial's process; where it only watches workers, which Ray Train places, next to nothing."""
        if config["workers"] > 1:
            return tune.PlacementGroupFactory([{"memory": 1}])  # a byte: Ray refuses a request for nothing at all
        return tune.PlacementGroupFactory([bundle(config)])

    def setup(self, config: dict[str, Any]) -> None:
        # Nothing is claimed or built before the first step: while an actor still starts, Tune may hand
        # its trial to a reused one, and the late starter must not take the trial away from it.
        self._config = config
        restrict_code(config)
        self._opened = False
        self._job: Job | None = None
        self._workers: Workers | None = None
        self._observers = Observers()
        self._row: Mapping[str, Any] = {}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def _open(self) -> None:
        config = self._config
        check_trial(self._trial)
        result = self._trial.result()
        if result is not None and result["status"] in FINAL:
            self._read_row()
            return
        if (reason := faults.too_many(self._trial, config["max_failures"])) is not None:
            self._trial.claim()
            drive.fail(self._trial, reason)
            return
        if config["workers"] > 1:
            self._workers = Workers(config, run_of(self._trial).path / "ray" / "train")
            return
        self._trial.claim()
        self._job = drive.open_job(lambda: job_of(self._trial, config), self._trial)
        self._read_row()
        self._observers = trackers.observers(self._trial)

    def step(self) -> dict[str, Any]:
        limit = self._config["epoch_timeout"] if self._config["workers"] == 1 else None  # workers watch themselves
        try:
            with Watchdog(limit, self._timed_out):
                if not self._opened:
                    self._opened = True
                    self._trial = TrialDirectory(self._config["directory"])
                    self._open()
                if self._workers is not None:
                    more = self._workers.wait()
                    self._read_row()
                    return self._scalars(done=not more)
                if self._job is not None:
                    self._advance(self._job)
            return self._scalars(done=self._job is None or self._job.finished)
        except OSError:
            raise
        except SupersededError:
            self._job = None
        except Exception as error:
            self._job = None
            self._fail(error)
        return self._scalars(done=True)

    def _advance(self, job: Job) -> None:
        if not job.finished:
            self._row = drive.advance(job, self._trial, int(self._config["checkpoint_every"]))
            self._observers.epoch(self._row)
        if job.finished:
            self._observers.finished(drive.finish(job, self._trial, describe_genotype))

    def _timed_out(self) -> None:
        faults.note_timeout(self._trial, self._config["epoch_timeout"])

    def _fail(self, error: Exception) -> None:
        if memory.gpu_is_full(error):
            result = gpu_memory.after(self._trial, self._config, error)
        else:
            result = drive.fail(self._trial, memory.advised(error, self._trial))
        if result is not None:
            self._observers.finished(result)

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
