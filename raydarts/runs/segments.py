"""The segments of a trial: a scheduler may let it go on as a copy of another trial, with other settings.

trial.json holds the settings of the last segment as the trial's own. Where there are several, `segments` holds all of
them in order. Each has a folder of checkpoints. The first file in a later folder is the other trial's checkpoint, from
which the segment goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raydarts.runs.directory import TrialDirectory
from raydarts.storage.place import FilePlace
from raydarts.study.history import Parent, Segment, name_of


def segments_of(description: Mapping[str, Any]) -> list[Segment]:
    """The segments that a trial.json names. A trial that was never forked has one."""
    listed = description.get("segments") or [description]
    return [_segment(each) for each in listed]


def _segment(value: Mapping[str, Any]) -> Segment:
    parent = value.get("parent")
    return Segment(
        value.get("config") or {},
        value.get("choices") or {},
        None if parent is None else Parent(name_of(int(parent["trial"])), int(parent["epoch"])),
    )


def described(description: Mapping[str, Any], segments: Sequence[Segment]) -> dict[str, Any]:
    """The trial.json of a trial that has these segments now."""
    last = segments[-1]
    return {
        **description,
        "config": last.config,
        "choices": last.choices,
        "segments": [each.to_json() for each in segments],
    }


def number_at(segments: Sequence[Segment], epoch: int) -> int:
    """The number of the segment in which this epoch was run."""
    begun = [number for number, each in enumerate(segments) if each.parent is None or each.parent.epoch < epoch]
    return begun[-1]


def checkpoint_folder(trial: TrialDirectory, number: int) -> FilePlace:
    """Where the checkpoints of a segment lie."""
    return trial.files / ("checkpoints" if number == 0 else f"checkpoints-{number}")


def newest_folder(trial: TrialDirectory) -> FilePlace:
    """Where the checkpoints of a trial's last segment lie."""
    return checkpoint_folder(trial, len(segments_of(trial.description())) - 1)
