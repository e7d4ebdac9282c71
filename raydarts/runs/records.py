"""What each file of a run holds: its types, and what may stand in its names. `reading.py` asks it of every file.

Keys that are not named here may hold anything: they are shown, and nothing is computed from them.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from raydarts.runs.event_records import Event
from raydarts.runs.record_types import Count, Genotype, Hours, Name, Record, Section, Skips, StageName, Time


def _text_or_section(value: object) -> object:
    if not isinstance(value, str | dict):
        raise PydanticCustomError("component", "must be a name or a section")
    return value


def _primitives(value: object) -> object:
    """The names of all edges, or of each edge its own."""
    lists = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise PydanticCustomError("primitives", "must be a list of names, or one for each edge")
    return value


class Resources(Record):
    cpus: float = 1
    gpus: float = 0
    workers: Annotated[int, Field(ge=1)] | None = None


class Table(Record):
    file: str


class StageSection(Record):
    """A retraining's section of a resolved spec, as far as results are read by it."""

    seeds: list[Count] = []
    resources: Resources | None = None
    table: Table | None = None
    training: Section | None = None
    data: Section | None = None


class TransferSection(StageSection):
    name: Name


class SweepSection(Record):
    metric: str = ""
    mode: Literal["max", "min"] | None = None
    searcher: Annotated[object, AfterValidator(_text_or_section)] = "grid"
    replicates: list[Count] | None = None
    resources: Resources | None = None


class BarRecord(Record):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    column: str
    most: float | None = None
    least: float | None = None


class RankedRecord(Record):
    """What search trials are ranked by."""

    model_config = ConfigDict(strict=True, extra="forbid")
    metric: str
    mode: Literal["max", "min"]
    share: bool
    name: str
    unit: str
    healthy: bool
    health: list[BarRecord]
    constraints: list[BarRecord]
    more: list[RankedRecord] = []


class ScoreRecord(Record):
    model_config = ConfigDict(strict=True, extra="forbid")
    metric: str
    mode: Literal["max", "min"]
    share: bool


Limits = dict[Literal["gpu_hours", "cpu_hours", "wall_hours"], Hours | None]


class SpecRecord(Record):
    """The resolved spec. What is to be trained is checked by `config` when it is to be trained."""

    data: Section | None = None
    sweep: SweepSection | None = None
    rungs: list[StageSection] | None = None
    evaluate: StageSection | None = None
    transfer: list[TransferSection] | None = None
    budget: Limits | None = None
    track: Section | None = None
    presets: dict[str, list[str]] | None = None
    score: ScoreRecord | None = None
    ranked: RankedRecord | None = None
    threads: Annotated[int, Field(ge=1)] = 1
    gpu: bool = False
    checkpoint_every: Annotated[int, Field(ge=1)] = 1


class Candidate(Record):
    """A genotype, and how it came here."""

    id: Name
    genotype: Genotype
    trials: list[Name]
    skips: Skips | None = None


class GivenCandidate(Candidate):
    skips: Skips
    origin: str


class Candidates(Record):
    """The genotypes of a run of one stage, which come from elsewhere."""

    candidates: list[GivenCandidate]


class RehearsalRecord(Record):
    """What a rehearsal left out, a line each."""

    notes: list[str] = []


class KnownRecord(Record):
    """A configuration that earlier runs tried, and what it came to."""

    choices: Section
    value: float | None
    values: list[float] | None = None
    excesses: list[float] | None = None


class KnownRecords(Record):
    """What the searcher was told of earlier runs (`sweep.from_runs`)."""

    known: list[KnownRecord]
    lines: list[str]


class RunRecord(Record):
    """run.json."""

    format: int
    id: str | None = None
    kind: Literal["sweep", "search", "evaluation"]
    question: str | None = ""
    spec: SpecRecord
    builder: str | None = None
    versions: dict[str, str | None] = {}
    git_commit: str | None = None
    machine: dict[str, str | int] = {}
    command: list[str] = []
    stage: StageName | None = None
    genotypes: Candidates | None = None
    rehearsal: RehearsalRecord | None = None
    earlier: KnownRecords | None = None


class ParentRecord(Record):
    """The trial, and after how many epochs, whose checkpoint a segment goes on from."""

    trial: Annotated[int, Field(ge=0, le=10**7)]
    epoch: Annotated[int, Field(ge=1, le=10**9)]


class SegmentRecord(Record):
    """A part of a search trial with the same settings."""

    config: Section
    choices: Section
    parent: ParentRecord | None = None


class TrialRecordFile(Record):
    """trial.json: of a search its index, config and choices; of a retraining the genotype and the seed.

    With replicates a search has its configuration and its search seed too.
    """

    kind: Literal["search", "evaluation"] | None = None
    index: Annotated[int, Field(ge=0, le=10**7)] | None = None
    configuration: Annotated[int, Field(ge=0, le=10**7)] | None = None
    replicate: Count | None = None
    config: Section | None = None
    choices: Section | None = None
    parent: ParentRecord | None = None
    segments: Annotated[list[SegmentRecord], Field(min_length=1)] | None = None
    stage: StageName | None = None
    genotype_id: Name | None = None
    genotype: Genotype | None = None
    seed: Count | None = None
    trials: list[Name] | None = None
    random_cell: bool = False


class CellWeights(Record):
    edges: list[list[int]]
    primitives: Annotated[object, AfterValidator(_primitives)]
    weights: list[list[float]]


class Row(Record):
    """A line of metrics.jsonl: what a job measured in an epoch, of which these are known here."""

    epoch: Count | None = None
    segment: Count | None = None
    genotype: Genotype | None = None
    arch_weights: dict[str, CellWeights] | None = None

    @model_validator(mode="after")
    def _counts(self) -> Row:
        for key, value in (self.model_extra or {}).items():
            if key.startswith("skips_") and (isinstance(value, bool) or not isinstance(value, int | float | None)):
                raise PydanticCustomError("skips", "skips_* must be numbers")
        return self


class Times(Record):
    """A line of times.jsonl."""

    epoch: Count | None = None
    start: Time
    end: Time
    host: str = ""
    pid: int = 0
    lanes: Annotated[int, Field(ge=1)] = 1
    of: Count | None = None


class Lane(Record):
    """A trial that a group runs. `key` names this giving of it."""

    key: Name
    trial: Name


class Group(Record):
    """The trials that one process runs together now."""

    lanes: list[Lane]


class Fault(Record):
    """A line of failures.jsonl."""

    what: Literal["lost", "files", "timeout", "preempted", "storage", "gpu_memory"]
    message: str
    at: Time
    host: str
    epochs: Count
    attempt: Count
    token: str | None = None
    gpus: float | None = None
    next_gpus: float | None = None


class Measured(Record):
    """What a job gave at its end."""

    baselines: dict[str, dict[str, float | None]] | None = None
    parameters: float | None = None


class Result(Record):
    """result.json."""

    status: Literal["completed", "stopped", "failed"]
    epochs: Count = 0
    metrics: Section = {}
    genotype: Genotype | None = None
    genotype_id: Name | None = None
    skips: Skips | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    result: Measured | None = None
    error: str | None = None
    reason: str | None = None
    """Why a rule of the sweep stopped it."""
    lineage: str | None = None


class Halted(Record):
    reason: str
    epochs: Count = 0
    paused: bool = False


class Owner(Record):
    """Which attempt may write."""

    token: str
    host: str = ""
    placement_group: Annotated[str, Field(pattern=r"^[0-9a-f]*$")] | None = None


class Decision(Candidate):
    """A line of promotion.json."""

    promoted: bool
    reason: str
    best_trial: Name | None = None
    random_cell: bool = False


class AddedSeed(Record):
    genotype: Name
    seed: Count


class SeedNoise(Record):
    sd: float
    freedom: Count


class Allocation(Record):
    """A line of allocation.jsonl."""

    round: Count
    first: Name
    probability: float
    best: dict[str, float]
    scores: dict[str, Count]
    noise: SeedNoise | None
    epochs: Count
    add: list[AddedSeed]
    stop: str | None


class Status(Record):
    status: Literal["pending", "running", "halted", "interrupted", "completed", "failed"]
    reason: str | None = None


class PlannedCohort(Record):
    trials: Count
    cuts: list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class PlannedStage(Record):
    name: StageName
    jobs: Count
    epochs: Count
    places: Annotated[int, Field(ge=1, le=10**7)] = 1
    cohorts: list[PlannedCohort] = []
    like: str = ""
    seconds: Annotated[float, Field(gt=0)] | None = None
    together: Annotated[int, Field(ge=1)] = 1


class Earlier(Record):
    limits: Limits
    until: Time


class Budget(Record):
    limits: Limits
    earlier: list[Earlier] = []


class Driver(Record):
    started: Time
    seen: Time


_KINDS: dict[str, Any] = {
    "run.json": RunRecord,
    "trial.json": TrialRecordFile,
    "metrics.jsonl": Row,
    "times.jsonl": Times,
    "failures.jsonl": Fault,
    "result.json": Result,
    "halted.json": Halted,
    "owner.json": Owner,
    "events.jsonl": Event,
    "promotion.json": list[Decision],
    "allocation.jsonl": Allocation,
    "status.json": Status,
    "plan.json": list[PlannedStage],
    "budget.json": Budget,
    "drivers.json": dict[str, Driver],
    "genotype.json": Genotype,
}


GROUP: TypeAdapter[object] = TypeAdapter(Group)
"""A file in the folder `groups`, whose name is that of the group."""


@cache
def kind_of(name: str) -> TypeAdapter[object]:
    """Returns what a file of a run must hold, by the file's name. Made when the first file of the name is read."""
    return TypeAdapter(_KINDS[name])
