"""The JSON of a report, of a comparison and of `show`: which keys it has, and of which types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from raydarts.json_types import Json
from raydarts.runs.entries import AllocationEntry
from raydarts.runs.progress import Left
from raydarts.runs.segments import Part
from raydarts.study.budget import BudgetReport
from raydarts.study.front import FrontReport
from raydarts.study.ranking import RankedEntry


class ScoreShape(TypedDict):
    metric: str
    mode: Literal["max", "min"]
    share: bool


class BarShape(TypedDict):
    name: str
    column: str
    most: float | None
    least: float | None


class SearchScoreShape(ScoreShape):
    """The objective: what search trials are ranked by."""

    name: str
    unit: str
    healthy: bool
    health: Sequence[BarShape]
    constraints: Sequence[BarShape]
    more: NotRequired[Sequence[SearchScoreShape]]
    """The further objectives of several."""


class TrialRow(TypedDict):
    """A search trial."""

    id: str
    status: str
    config: Mapping[str, object] | None
    choices: Mapping[str, object] | None
    lineage: Sequence[Part]
    configuration: str | None
    search_seed: int | None
    metrics: Mapping[str, float]
    genotype: Mapping[str, object] | None
    genotype_id: str | None
    skips: Mapping[str, int]
    epochs: int
    seconds: float | None
    error: str | None
    unhealthy: Sequence[str] | None
    """What is wrong with its genotype, in words. None: it has none."""
    reason: str | None
    """Why a rule of the sweep stopped it."""
    order: float | None
    """The number that it is ranked by."""


class ConfigurationRow(TypedDict):
    """A configuration of a sweep with replicates, over its search seeds."""

    configuration: str
    status: str
    choices: Mapping[str, object]
    trials: Sequence[str]
    mean: float | None
    sd: float | None
    n: int
    order: float | None
    means: NotRequired[Mapping[str, float]]
    """With several objectives the mean of each."""


class RetrainedRow(TypedDict):
    """A retraining. Its figures have the names of the run's score."""

    genotype: str
    seed: int
    status: str
    epochs: int
    error: str | None
    random_cell: bool


class RandomCellsShape(TypedDict):
    """The random cells of `evaluate`, and by how much the others are better (`improvement.Improvement`)."""

    ranking: Sequence[RankedEntry]
    improvement: Sequence[Mapping[str, object]]
    retrainings: int
    completed: int


class GenotypeRow(TypedDict):
    """A genotype that differs from the others as an architecture."""

    id: str
    genotype: Mapping[str, object]
    trials: Sequence[str]
    skips: Mapping[str, int]


class NoiseShape(TypedDict):
    """What the noise of evaluation seeds leaves of a ranking: `study.ranking_noise.RankingNoise` and its sentences.

    Where nothing can be known there is `why` instead of the statements.
    """

    known: bool
    words: Sequence[str]


class StageReport(TypedDict):
    """A retraining stage by itself."""

    name: str
    promotion: Json
    evaluations: Sequence[RetrainedRow]
    ranking: Sequence[RankedEntry]
    noise: NoiseShape | None


class RunReport(TypedDict):
    """A run as its files say it."""

    name: str
    kind: str
    question: str
    status: str
    spec: Mapping[str, object]
    trials: Sequence[TrialRow]
    configurations: Sequence[ConfigurationRow]
    front: FrontReport | None
    """The Pareto front of several objectives. None: there is one objective."""
    genotypes: Sequence[GenotypeRow]
    promotion: Json
    allocation: Sequence[AllocationEntry]
    evaluations: Sequence[RetrainedRow]
    score: ScoreShape
    search_score: SearchScoreShape
    ranking: Sequence[RankedEntry]
    noise: NoiseShape | None
    random_cells: RandomCellsShape | None
    baselines: Mapping[str, Mapping[str, float]]
    faults: Sequence[Mapping[str, str]]
    stages: Sequence[StageReport]
    damaged: Sequence[str]


class AnsweredReport(RunReport):
    """What `raydarts report --json` prints: the report with the answer, None of what is no sweep."""

    answer: Mapping[str, Json] | None


class StatusReport(TypedDict):
    """What `raydarts status --json` prints."""

    name: str
    status: str
    trials: Mapping[str, int]
    evaluations: Mapping[str, int]
    stages: Mapping[str, Mapping[str, int]]
    budget: BudgetReport
    left: Left | None
    best_trial: Mapping[str, object] | None
    configurations: Mapping[str, int]
    best_configuration: ConfigurationRow | None
    front: FrontReport | None
    damaged: Sequence[str]


class MeanShape(TypedDict):
    """A mean with its sample standard deviation and the ends of its 95 % interval. None where n is 1."""

    value: float
    std: float | None
    n: int
    low: float | None
    high: float | None


class Summary(TypedDict):
    """One of the two compared runs."""

    name: str
    status: str
    command: str
    trials: Mapping[str, int]
    metric: str
    front: FrontReport | None
    supernet: MeanShape | None
    skips: MeanShape | None
    score: str
    retrained: MeanShape | None
    retrained_genotypes: int
    best_genotype: str | None
    best: MeanShape | None
    improvement: Sequence[Mapping[str, object]]
    """By how much genotypes are better than random cells (`improvement.Improvement`)."""


class Best(TypedDict):
    best_genotype: str | None
    best: MeanShape | None
    retrained_genotypes: int


class Changed(TypedDict):
    """A key whose values differ."""

    key: str
    first: object
    second: object


class Paired(TypedDict):
    """Searches with equal settings and seed in both runs."""

    pairs: int
    supernet: MeanShape | None
    skips: MeanShape | None


class SharedGenotype(TypedDict):
    id: str
    first: MeanShape | None
    second: MeanShape | None


class SharedStage(TypedDict):
    name: str
    comparable: bool
    first: Best
    second: Best


class Comparison(TypedDict):
    """What `raydarts compare --json` prints."""

    runs: Sequence[Summary]
    hypervolumes: Sequence[float] | None
    """Of both fronts, in one box around the points of both. None: the runs have not the same several objectives."""
    warnings: Sequence[str]
    spec: Sequence[Changed]
    versions: Sequence[Changed]
    paired: Paired
    genotypes: Sequence[SharedGenotype]
    stages: Sequence[SharedStage]
