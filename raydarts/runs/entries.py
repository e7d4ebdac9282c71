"""The files of a run as they are read. `reading.py` has checked each against `records.py`.

Keys that are not named here may be there too: they are shown, and nothing is computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict


class CandidateEntry(TypedDict):
    """A genotype that a run of one stage was given. `origin`: where it is from, in words."""

    id: str
    genotype: Mapping[str, object]
    trials: Sequence[str]
    skips: Mapping[str, int]
    origin: str


GivenEntry = TypedDict(
    "GivenEntry", {"from": Sequence[Mapping[str, object]], "candidates": Sequence[CandidateEntry]}, total=False
)
"""The genotypes of a run of one stage, which come from elsewhere: a line for each source, and the genotypes."""


class RunEntry(TypedDict, total=False):
    """run.json."""

    format: int
    kind: str
    name: str
    id: str
    question: str | None
    spec: Mapping[str, object]
    builder: str | None
    versions: Mapping[str, str | None]
    git_commit: str | None
    machine: Mapping[str, str | int]
    command: Sequence[str]
    stage: str | None
    genotypes: GivenEntry | None
    earlier: Mapping[str, object] | None
    rehearsal: Mapping[str, object] | None


class TimeEntry(TypedDict):
    """A line of times.jsonl. Times are in seconds since 1970.

    `lanes`: how many trials the process ran together in this time; 1 if it is not there.
    """

    epoch: NotRequired[int | None]
    start: float
    end: float
    host: NotRequired[str]
    pid: NotRequired[int]
    lanes: NotRequired[int]
    of: NotRequired[int]
    """The epochs that the trial had in all, as its job said then."""


class FaultEntry(TypedDict):
    """A line of failures.jsonl."""

    what: str
    message: str
    at: float
    host: str
    epochs: int
    attempt: int
    token: NotRequired[str | None]
    gpus: NotRequired[float | None]
    next_gpus: NotRequired[float | None]


class HaltedEntry(TypedDict):
    """halted.json."""

    reason: str
    epochs: NotRequired[int]
    paused: NotRequired[bool]


class OwnerEntry(TypedDict):
    """owner.json."""

    token: str
    host: NotRequired[str]
    placement_group: NotRequired[str | None]


class SeedEntry(TypedDict):
    """A retraining that is added."""

    genotype: str
    seed: int


class NoiseEntry(TypedDict):
    """The spread of one evaluation seed, and its degrees of freedom."""

    sd: float
    freedom: int


class AllocationEntry(TypedDict):
    """A line of allocation.jsonl: what was believed after a round of retrainings, and what was decided on it.

    `probability`: that `first` is the best genotype, or at most `within` worse. `best`: that of each to be the best.
    `scores`: how many each had. `epochs`: those of all short and full trainings that were asked for before, which
    `max_share` limits. `add` is empty where there is a reason to `stop`.
    """

    round: int
    first: str
    probability: float
    best: Mapping[str, float]
    scores: Mapping[str, int]
    noise: NoiseEntry | None
    epochs: int
    add: Sequence[SeedEntry]
    stop: str | None


class CohortEntry(TypedDict):
    """The next trials of a search, and the shares that the scheduler lets go on: `[epoch, share]`."""

    trials: int
    cuts: Sequence[Sequence[float]]


class PlannedStageEntry(TypedDict):
    """What a stage amounts to at most, in plan.json.

    `places`: how many trials run at a time. `like`: stages with the same text have epochs of equal cost. `seconds`:
    what an epoch of a trial takes, as it was timed beforehand. `together`: how many trials in a row stop together.
    """

    name: str
    jobs: int
    epochs: int
    places: NotRequired[int]
    cohorts: NotRequired[Sequence[CohortEntry]]
    like: NotRequired[str]
    seconds: NotRequired[float | None]
    together: NotRequired[int]
