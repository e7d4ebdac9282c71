"""What a trial came to: its description, its rows and its result, and the genotypes of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from raydarts.errors import GenotypeError
from raydarts.genotypes.facts import FACTS, cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.json_types import section
from raydarts.study.history import ParentEntry, SegmentEntry
from raydarts.study.objectives import Score, SearchScore

NOT_SCALAR = ("genotype", "arch_weights")
"""What a metrics row may hold beside numbers and strings; left out where a trial's last metrics are shown."""
Row = dict[str, object]
"""A line of metrics.jsonl: what a job measured in an epoch, by name."""


class TrialEntry(TypedDict, total=False):
    """trial.json: of a search its index, config and choices; of a retraining the genotype and the seed."""

    kind: str | None
    index: int | None
    configuration: int | None
    replicate: int | None
    config: Mapping[str, object] | None
    choices: Mapping[str, object] | None
    parent: ParentEntry | None
    segments: Sequence[SegmentEntry] | None
    stage: str | None
    genotype_id: str
    genotype: Mapping[str, object]
    seed: int
    trials: Sequence[str] | None
    random_cell: bool


class MeasuredEntry(TypedDict, total=False):
    """What a job gave at its end. `baselines`: by name, then by part of the data."""

    baselines: Mapping[str, Mapping[str, float | None]] | None
    parameters: float | None


class ResultEntry(TypedDict, total=False):
    """result.json. `seconds` is the time of all epochs."""

    status: str
    epochs: int
    metrics: Mapping[str, object]
    genotype: Mapping[str, object] | None
    genotype_id: str | None
    skips: Mapping[str, int] | None
    seconds: float | None
    result: MeasuredEntry | None
    error: str | None
    traceback: str
    reason: str | None
    lineage: str | None


@dataclass(frozen=True)
class TrialRecord:
    """One trial or evaluation as it stands on disk. `epochs` counts the rows of its metrics."""

    id: str
    status: str
    description: TrialEntry
    rows: Sequence[Row]
    result: ResultEntry
    rows_whole: bool = True
    """Whether `rows` are all that were reported; else the last one's figures are the result's."""

    @property
    def configuration(self) -> int | None:
        """The number of its configuration, in a run with replicates."""
        number = self.description.get("configuration")
        return None if number is None else int(number)

    @property
    def search_seed(self) -> int | None:
        """The seed of a search. None of a retraining."""
        choices, config = section(self.description.get("choices")), section(self.description.get("config"))
        seed = choices.get("search.seed", config.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def epochs(self) -> int:
        return len(self.rows) if self.rows_whole else int(self.result.get("epochs", len(self.rows)))

    @property
    def metrics(self) -> dict[str, object]:
        """The last epoch's metrics, without the genotype and the arch weights."""
        last = self.rows[-1] if self.rows and self.rows_whole else self.result.get("metrics", {})
        return {key: value for key, value in last.items() if key not in NOT_SCALAR}

    @property
    def genotype(self) -> Mapping[str, object] | None:
        """The result's genotype; of a trial still going on, the last epoch's."""
        row = self.rows[-1] if self.rows else {}
        genotype = self.result.get("genotype") if self.result else row.get("genotype")
        return genotype if isinstance(genotype, Mapping) else None

    @property
    def genotype_id(self) -> str | None:
        return self.result.get("genotype_id") or None

    @property
    def skips(self) -> dict[str, int]:
        """Skip connections per cell type; empty where no genotype is known."""
        if (skips := self.result.get("skips")) is not None:
            return {str(key): int(value) for key, value in skips.items()}
        measured = {key[len("skips_") :]: value for key, value in self.metrics.items() if key.startswith("skips_")}
        return {key: int(value) for key, value in measured.items() if isinstance(value, int | float)}

    @property
    def outcome(self) -> dict[str, object]:
        """The last epoch's metrics; of a completed trial what its result says in their place.

        A language model's result has the figures of its best epoch.
        """
        more = self.result.get("result") if self.status == "completed" else None
        return {**self.metrics, **(more or {})}

    @property
    def judged(self) -> dict[str, object]:
        """`outcome` with the facts of the genotype, where a search did not report them and its genotype says them."""
        outcome = self.outcome
        if self.genotype is None or all(name in outcome for name in FACTS):
            return outcome
        try:
            return {**cell_facts(Genotype.from_json(self.genotype)), **outcome}
        except GenotypeError:
            return outcome

    def value(self, score: Score) -> float | None:
        """What the trial came to in this score, or None where that is absent or not finite."""
        return score.of(self.outcome)

    def order(self, score: Score) -> float | None:
        """The number that the trial is ranked by: `value`, unless the objective moves it behind others."""
        return score.order(self.judged)

    def orders(self, score: SearchScore) -> tuple[float, ...] | None:
        """The number that it is ranked by in each of several objectives. None: one of them is not known."""
        return score.orders(self.judged)

    def figures(self, score: SearchScore) -> tuple[float, ...] | None:
        """What it came to in each objective. None: one of them is not known."""
        return score.figures(self.judged)


class GenotypeEntry(TypedDict):
    """A genotype, and the ids of the trials that ended with it."""

    id: str
    genotype: Mapping[str, object]
    trials: list[str]
    skips: Mapping[str, int]


def distinct_genotypes(records: Iterable[TrialRecord]) -> list[GenotypeEntry]:
    """Genotypes that differ as architectures, in the order met, each with the ids of its trials."""
    entries: dict[str, GenotypeEntry] = {}
    for record in records:
        if record.genotype_id is None or record.genotype is None:
            continue
        entry = entries.setdefault(
            record.genotype_id,
            {"id": record.genotype_id, "genotype": record.genotype, "trials": [], "skips": record.skips},
        )
        entry["trials"].append(record.id)
    return list(entries.values())
