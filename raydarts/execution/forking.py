"""A trial goes on from another trial's checkpoint, with other settings.

Three steps lie on disk, in this order: the decision as an event, the copy of the other trial's checkpoint, and the new
segment in trial.json. A driver that takes over carries out a fork again whose last step is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raydarts.errors import CheckpointError
from raydarts.execution.job import ForkableJob, Job
from raydarts.json_types import section
from raydarts.runs.checkpoints import CheckpointStore, Refused, digest
from raydarts.runs.directory import TrialDirectory
from raydarts.runs.folders import run_of
from raydarts.runs.identity import identity
from raydarts.runs.segments import checkpoint_folder, described, newest_folder, number_at, segments_of
from raydarts.storage.place import FilePlace, make_folder, read_bytes, write_bytes
from raydarts.study.history import Parent, Segment


def fork(trial: TrialDirectory, segments: Sequence[Segment]) -> None:
    """Put the start of a trial's last segment into its folder, and then the segments into its trial.json.

    The start is a copy of the other trial's checkpoint, because that trial keeps only its newest ones. Earlier
    attempts at the trial can no longer write. Raises `CheckpointError` where the checkpoint is missing or damaged.
    """
    parent = segments[-1].parent
    if parent is None:
        raise ValueError(f"{trial.id}: its last segment begins anew")
    trial.claim()
    source = run_of(trial).trial(int(parent.trial))
    number = number_at(segments_of(source.description()), parent.epoch)
    path = _of_epoch(checkpoint_folder(source, number), parent)
    content = read_bytes(path)
    if digest(content) not in path.name:
        raise CheckpointError(f"{path}: is damaged (its digest does not match), so {trial.id} cannot go on from it")
    target = checkpoint_folder(trial, len(segments) - 1)
    make_folder(target)
    write_bytes(target / path.name, content)
    trial.create(described(trial.description(), segments))


def is_kept(trial: TrialDirectory, epoch: int) -> bool:
    """Whether there is a checkpoint of this epoch of a trial."""
    return epoch in map(CheckpointStore.epoch, CheckpointStore(newest_folder(trial), {}).files())


def begin(build: Callable[[], Job], trial: TrialDirectory, parent: Parent) -> tuple[Job, dict[str, object]]:
    """The job of a trial's last segment, not begun, and the state that it begins with.

    The state is the other trial's, under this trial's settings. Raises `Refused` where the checkpoint is not the other
    trial's.
    """
    source = run_of(trial).trial(int(parent.trial))
    before = identity(source, parent.epoch)
    path = _of_epoch(newest_folder(trial), parent)
    state = CheckpointStore(newest_folder(trial), before).read(path)
    job = build()
    if not isinstance(job, ForkableJob):
        raise Refused(f"{type(job).__name__} has no method restated, so it cannot go on with other settings")
    return job, job.restated(state, section(before["search"]))


def _of_epoch(folder: FilePlace, parent: Parent) -> FilePlace:
    for path in CheckpointStore(folder, {}).files():
        if CheckpointStore.epoch(path) == parent.epoch:
            return path
    raise CheckpointError(f"{folder}: has no checkpoint of trial {parent.trial} after epoch {parent.epoch}")
