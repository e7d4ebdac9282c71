"""The segments of a trial: a scheduler may let it go on as a copy of another trial, with other settings.

trial.json holds the settings of the last segment as the trial's own. Where there are several, `segments` holds all of
them in order. Each has a folder of checkpoints. The first file in a later folder is the other trial's checkpoint, from
which the segment goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from raydarts.runs.directory import TrialDirectory
from raydarts.storage.place import FilePlace
from raydarts.study.history import Parent, Segment, SegmentEntry, name_of
from raydarts.study.results import TrialEntry


def segments_of(description: TrialEntry) -> list[Segment]:
    """The segments that a trial.json names. A trial that was never forked has one."""
    if listed := description.get("segments"):
        return [_segment(each) for each in listed]
    return [_segment(description)]


def _segment(value: SegmentEntry | TrialEntry) -> Segment:
    parent = value.get("parent")
    return Segment(
        value.get("config") or {},
        value.get("choices") or {},
        None if parent is None else Parent(name_of(int(parent["trial"])), int(parent["epoch"])),
    )


def described(description: TrialEntry, segments: Sequence[Segment]) -> TrialEntry:
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
    return begun[-1] if begun else 0


class Part(TypedDict):
    """Epochs `first` to `last` of what a trial came to: trial `trial` ran them, with these swept settings."""

    trial: str
    first: int
    last: int
    choices: Mapping[str, object]


def lineage(name: str, epochs: int, described_as: Callable[[str], TrialEntry]) -> list[Part]:
    """What a forked trial's weights and genotype come from, first epoch first. Empty for a trial that has no fork.

    `epochs`: how many it has run. `described_as` gives a trial.json by the trial's name.
    """
    segments = segments_of(described_as(name))
    if len(segments) == 1:
        return []
    parts: list[Part] = []
    number, last = len(segments) - 1, epochs
    while True:
        segment = segments[number]
        first = 1 if segment.parent is None else segment.parent.epoch + 1
        if last >= first or not parts:
            parts.insert(0, {"trial": name, "first": first, "last": max(first, last), "choices": segment.choices})
        if segment.parent is None or segment.parent.epoch > last:
            return parts
        name, last = segment.parent
        segments = segments_of(described_as(name))
        number = number_at(segments, last)


def lineage_in_words(parts: Sequence[Part]) -> str:
    """A lineage in words. Of each later part only the settings that differ from the part before."""
    words = []
    for number, part in enumerate(parts):
        before = parts[number - 1]["choices"] if number else {}
        changed = {name: value for name, value in part["choices"].items() if number == 0 or before.get(name) != value}
        settings = ", ".join(f"{name.removeprefix('search.')} {_short(value)}" for name, value in changed.items())
        epochs = f"epoch {part['first']}" if part["first"] == part["last"] else f"epochs {part['first']}-{part['last']}"
        words.append(f"{epochs} by trial {part['trial']} with {settings or 'the same settings'}")
    return "; ".join(words)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def checkpoint_folder(trial: TrialDirectory, number: int) -> FilePlace:
    """Where the checkpoints of a segment lie."""
    return trial.files / ("checkpoints" if number == 0 else f"checkpoints-{number}")


def newest_folder(trial: TrialDirectory) -> FilePlace:
    """Where the checkpoints of a trial's last segment lie."""
    return checkpoint_folder(trial, len(segments_of(trial.description())) - 1)
