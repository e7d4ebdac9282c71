"""One evaluation by several workers: Ray Train starts them and joins them in a process group, torch does the rest.

The trial's own process only watches. The first worker writes rows, checkpoints and the result, as a trial's process
does that works alone; the others go through the same epochs. Where a worker is lost Ray Train ends the others, and
the trial fails for Tune, which tries it again: from the newest checkpoint, as ever.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

from raydarts.cluster.connection import ray_storage
from raydarts.errors import TrialError
from raydarts.execution import drive
from raydarts.execution.attempt import Attempt
from raydarts.execution.capture import Capture
from raydarts.execution.job import Job
from raydarts.execution.jobs import bundle, job_of, restrict_code
from raydarts.execution.shared_data import give, given
from raydarts.execution.watchdog import Watchdog
from raydarts.runs import faults
from raydarts.runs.directory import FINAL, SupersededError, TrialDirectory
from raydarts.runs.log import TrialLog
from raydarts.runs.memory import advised, gpu_is_full
from raydarts.storage.place import Place

_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two looks for a new row
_LATER = 3.0  # seconds by which the first worker's limit of time comes before the others'
_UNUSED = ("DatasetsCallback", "PlacementGroupCleanerCallback")  # of Ray Train: see `_trainer`


class WorkersLostError(OSError):
    """Workers of an evaluation were lost; an OSError, so that Tune tries again."""


class Workers:
    """The workers of one trial, from their start until their training has ended. `config` is the trainable's."""

    def __init__(self, config: dict[str, Any], folder: Place) -> None:
        self._trial = TrialDirectory(config["directory"])
        self._error: BaseException | None = None
        self._seen = len(self._trial.times())
        self._thread = threading.Thread(target=self._fit, args=(config, folder), daemon=True)
        self._thread.start()

    def _fit(self, config: dict[str, Any], folder: Place) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415 - only where it is asked for

        from raydarts.execution.process_group import OwnAddressConfig  # noqa: PLC0415 - loads torch

        # One process less for each attempt: that one only writes about preemption into Ray's own log.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        one = bundle(config)
        trainer = _trainer()(
            work,
            train_loop_config={**config, "data": given()},
            torch_config=OwnAddressConfig(backend="nccl" if config["gpus"] > 0 else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=config["workers"], resources_per_worker=one, use_gpu=config["gpus"] > 0
            ),
            run_config=RunConfig(
                name=self._trial.id, **ray_storage(folder), failure_config=FailureConfig(max_failures=0)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # told to whoever waits
            self._error = error

    def wait(self) -> bool:
        """Until a further epoch has been kept: True. False: the trial has its result, or another attempt took over.

        Raises `WorkersLostError` where workers were lost before that, torch.OutOfMemoryError where a worker did.
        """
        pause = _SHORTEST
        while self._thread.is_alive():
            if len(self._trial.times()) > self._seen and (self._trial.result() or {}).get("status") not in FINAL:
                self._seen += 1
                return True
            self._thread.join(pause)
            pause = min(_LONGEST, 1.5 * pause)
        if (self._trial.result() or {}).get("status") in FINAL:
            return False
        if self._error is None:
            return False
        self._raise_full(self._error)
        raise WorkersLostError(f"workers of {self._trial.id} were lost: {self._error}") from self._error

    def _raise_full(self, error: BaseException) -> None:
        """Raise a worker's torch.OutOfMemoryError here, the trial being this process' again."""
        for failure in getattr(error, "worker_failures", {}).values():
            if gpu_is_full(failure) or "torch.OutOfMemoryError" in str(failure):
                import torch  # noqa: PLC0415

                self._trial.claim()
                raise torch.OutOfMemoryError(str(failure)) from error

    def leave(self) -> None:
        """Take the trial from the workers: the first ends at its next write, and the others with it."""
        if self._thread.is_alive():
            self._trial.claim()


def _trainer() -> type[Any]:
    """Ray's trainer of torch workers, without two processes that it starts for each attempt. Each takes seconds of CPU.

    One hands out Ray's data sets, of which there are none. The other frees what a killed attempt holds, if Ray's
    dashboard runs; `free_leftover` does that. The method is internal to Ray: a Ray without it starts both processes.
    """
    from ray.train.torch import TorchTrainer  # noqa: PLC0415

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            made = super()._create_default_callbacks()  # type: ignore[misc]
            return [each for each in made if type(each).__name__ not in _UNUSED]

    return Trainer


def free_leftover(trial: TrialDirectory) -> None:
    """Give back what the workers of an attempt that failed still hold. For the driver.

    Where the process that watched them was lost they end with it, but Ray keeps their placement group until the driver
    ends. Train's own cleaner asks Ray's dashboard, which a Ray of the user's own machine does not run.
    """
    import ray  # noqa: PLC0415
    from ray.util.placement_group import (  # noqa: PLC0415
        PlacementGroup,
        placement_group_table,
        remove_placement_group,
    )

    owner = trial.owner()
    name = None if owner is None else owner.get("placement_group")
    if name is not None and placement_group_table().get(name, {}).get("state", "REMOVED") != "REMOVED":
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))


def work(config: dict[str, Any]) -> None:
    """What each worker runs: the trial's job, from its newest checkpoint to its end."""
    import torch  # noqa: PLC0415 - only where trials run
    import torch.distributed as dist  # noqa: PLC0415

    restrict_code(config)
    give(config["data"])
    trial, device = TrialDirectory(config["directory"]), "cpu"
    if config["gpus"] > 0:
        from ray.train.torch import get_device  # noqa: PLC0415

        device = str(get_device())
        torch.cuda.set_device(device)
    first = dist.get_rank() == 0
    train, log = _lead if first else _follow, TrialLog(trial)
    try:
        with Capture([log] if first else []):  # of the others the error alone is kept
            train(trial, config, lambda: job_of(trial, config, device))
    except (OSError, SupersededError):
        raise
    except TrialError:
        return  # all meet it together, and the first worker has written it down
    except Exception as error:
        log.write(f"worker {dist.get_rank()}:\n{traceback.format_exc()}")
        if gpu_is_full(error):
            raise  # the trial's own process decides what comes of it
        if _of_a_partner(error):
            raise WorkersLostError(f"another worker was lost: {error}") from error
        trial.claim()
        drive.fail(trial, advised(error, trial))
        raise  # the others wait for this one


def _of_a_partner(error: Exception) -> bool:
    """Whether an error is of the exchange with the other workers. In a backward pass it is a plain RuntimeError."""
    import torch.distributed as dist  # noqa: PLC0415

    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "Connection"))


def _lead(trial: TrialDirectory, config: dict[str, Any], build: Callable[[], Job]) -> None:
    """The first worker: it writes rows, checkpoints and the result. Its watchdog notes an epoch that takes too long."""
    from ray.util import get_current_placement_group  # noqa: PLC0415

    group, limit = get_current_placement_group(), config["epoch_timeout"]
    watch = Watchdog(limit, lambda: faults.note_timeout(trial, limit))
    with Attempt(trial, build, int(config["checkpoint_every"]), watch) as attempt:
        with watch:
            trial.claim(placement_group=None if group is None else group.id.hex())
        try:
            attempt.open()
            TrialLog(trial).head(attempt.job.epoch + 1)
            with watch:
                _epoch_of_the_first(attempt.job.epoch)
            while not attempt.finished:
                attempt.advance()
            attempt.finish()
        except TrialError as error:
            attempt.fail(error)


def _follow(trial: TrialDirectory, config: dict[str, Any], build: Callable[[], Job]) -> None:
    """Any other worker: the same epochs, from the checkpoint that the first worker loaded. It writes nothing.

    Its watchdog waits longer than the first worker's. Where the first one stands still, the others wait for it in vain,
    and are ended: Ray Train then ends it too.
    """
    limit = config["epoch_timeout"]
    watch = Watchdog(None if limit is None else limit + _LATER, lambda: None)
    with watch:
        job = drive.follow_job(build, trial, _epoch_of_the_first(0))
    while not job.finished:
        with watch:
            job.run_epoch()
    with watch:
        job.result()


def _epoch_of_the_first(epoch: int) -> int:
    """The epoch at which the first worker begins, for all of them. Only what the first one gives counts."""
    import torch  # noqa: PLC0415
    import torch.distributed as dist  # noqa: PLC0415

    shared = torch.tensor([epoch])
    if dist.get_backend() == "nccl":
        shared = shared.cuda()
    dist.broadcast(shared, 0)
    return int(shared)
