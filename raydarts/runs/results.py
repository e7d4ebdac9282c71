"""Reading what a run left on disk. Nothing here writes, trains, or needs torch or Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypedDict

from raydarts.errors import DamagedError, GenotypeError
from raydarts.genotypes.facts import FACTS, cell_facts
from raydarts.genotypes.genotype import Genotype
from raydarts.json_types import section
from raydarts.runs.configurations import configurations
from raydarts.runs.directory import NOT_SCALAR, RunDirectory, TrialDirectory
from raydarts.runs.entries import FaultEntry, ResultEntry, Row, TrialEntry
from raydarts.runs.segments import lineage
from raydarts.runs.stages import EVALUATE, jobs, read_promotion, retrainings, stage_of, stages_of
from raydarts.storage.files import plain
from raydarts.storage.place import each
from raydarts.study.history import name_of
from raydarts.study.objectives import Score, figure, score_of, search_score_of


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


def read_trial(trial: TrialDirectory, in_use: bool = False) -> TrialRecord:
    """One trial's record. Without a result it is running while a driver holds the run, else pending, halted or paused.

    Where damage is noted, not raised: a trial whose trial.json or result.json is damaged is `damaged` and counts for
    nothing. So is one without a result whose rows are damaged. One that ended keeps its result.
    """
    result = trial.result()
    rows = trial.rows()
    description = trial.description()
    rows_whole = _rows_whole(trial, rows, result or {})
    if trial.damage is not None and (lost := untimed(trial, rows, result)):
        file = trial.files / "times.jsonl"
        trial.damage.note(file, DamagedError(f"{file}: {lost}; hours and cost are too low by these"))
    if _is_damaged(trial, "trial.json", "result.json") or (result is None and not rows_whole):
        status = "damaged"
    elif result is not None:
        status = str(result["status"])
    elif (halted := trial.halted()) is not None:
        status = "paused" if halted.get("paused") else "halted"
    else:
        status = "running" if in_use and trial.owner() is not None else "pending"
    return TrialRecord(trial.id, status, description, rows, result or {}, rows_whole)


def untimed(trial: TrialDirectory, rows: Sequence[Row], result: ResultEntry | None) -> str:
    """Words on the epochs that have a row and no time; none where all have one.

    An epoch's time is written right after its row. So only the last row of a trial that was lost, or that runs now, may
    be without a time.
    """
    damage, timed = trial.damage, {entry.get("epoch") for entry in trial.times()}
    if damage is not None and (damage.at(trial.files / "times.jsonl") or damage.at(trial.files / "metrics.jsonl")):
        return ""
    ended = (result or {}).get("status") in ("completed", "stopped")
    lost = [row["epoch"] for row in (rows if ended else rows[:-1]) if row.get("epoch") not in timed]
    if not lost:
        return ""
    named = ", ".join(map(str, lost[:10])) + (", ..." if len(lost) > 10 else "")
    return f"has no time of epoch{'s' if len(lost) > 1 else ''} {named}"


def _is_damaged(trial: TrialDirectory, *names: str) -> bool:
    damage = trial.damage
    return damage is not None and any(damage.at(trial.files / name) for name in names)


def _rows_whole(trial: TrialDirectory, rows: Sequence[Row], result: ResultEntry) -> bool:
    """Whether all rows are there that the result counts. A row is on disk before anything that counts it."""
    if _is_damaged(trial, "metrics.jsonl"):
        return False
    missing = int(result.get("epochs", 0)) - len(rows)
    if missing > 0 and trial.damage is not None:
        lacks = f"{trial.path / 'metrics.jsonl'}: lacks {missing} of the {result['epochs']} epochs that were reported"
        trial.damage.note(trial.files / "metrics.jsonl", DamagedError(f"{lacks}; the result stays as it is"))
    return missing <= 0


def trials(run: RunDirectory) -> list[TrialRecord]:
    """All search trials in the order of their indices."""
    in_use = run.in_use()
    records = each(lambda trial: read_trial(trial, in_use), run.trials(), run.path)
    if run.damage is not None:
        there = {int(record.id) for record in records}
        for index in sorted(set(range(max(there, default=0))) - there):
            place = run.trial(index).files
            run.damage.note(place, DamagedError(f"{place}: is missing, and trials after it are there"))
    return records


def evaluations(run: RunDirectory) -> list[TrialRecord]:
    return retrained(run, EVALUATE)


def retrained(run: RunDirectory, stage: str) -> list[TrialRecord]:
    """The records of a retraining stage."""
    in_use = run.in_use()
    return each(lambda trial: read_trial(trial, in_use), retrainings(run, stage), run.path)


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


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _std(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None of a single value, whose spread nobody knows."""
    return stdev(values) if len(values) > 1 else None


def evaluation_rows(records: Iterable[TrialRecord], score: Score) -> list[dict[str, object]]:
    """One row an evaluation: genotype id, seed, status, its score and the same of test data (None unless completed)."""
    rows = []
    for record in records:
        outcome = record.outcome if record.status == "completed" else {}
        genotype, _, seed = record.id.rpartition("-seed")  # as its folder says, whatever became of trial.json
        rows.append(
            {
                "genotype": record.description.get("genotype_id", genotype),
                "seed": record.description.get("seed", int(seed) if seed.isdigit() else 0),
                "status": record.status,
                "epochs": record.epochs,
                score.metric: score.of(outcome),
                score.test: figure(outcome.get(score.test)),
                "error": record.result.get("error"),
            }
        )
    return rows


def baselines(records: Iterable[TrialRecord]) -> dict[str, dict[str, float]]:
    """What an evaluation measured beside its network, such as a unigram model's perplexity: by name, then by part.

    Means over the completed evaluations; empty where they have none.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for record in records:
        measured = record.result.get("result") or {}
        for name, parts in (measured.get("baselines") or {}).items():
            for part, value in parts.items():
                if value is not None:
                    values.setdefault(name, {}).setdefault(part, []).append(value)
    return {name: {part: fmean(each) for part, each in parts.items()} for name, parts in values.items()}


class RankedEntry(TypedDict):
    """A genotype's mean over its completed evaluations, of which there are `n`, and their sample standard deviation."""

    genotype: str
    validation_mean: float | None
    validation_std: float | None
    test_mean: float | None
    test_std: float | None
    n: int


def ranking(rows: Iterable[Mapping[str, object]], score: Score) -> list[RankedEntry]:
    """Genotypes by their mean score over evaluation seeds, best first; figures of test data never order."""
    grouped: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        if row["status"] == "completed":
            grouped.setdefault(str(row["genotype"]), []).append(row)
    table: list[RankedEntry] = []
    for genotype, group in grouped.items():
        validation = [value for row in group if (value := figure(row[score.metric])) is not None]
        test = [value for row in group if (value := figure(row[score.test])) is not None]
        table.append(
            {
                "genotype": genotype,
                "validation_mean": _mean(validation),
                "validation_std": _std(validation),
                "test_mean": _mean(test),
                "test_std": _std(test),
                "n": len(group),
            }
        )
    return sorted(
        table,
        key=lambda row: (
            row["validation_mean"] is None,
            -score.sign * (row["validation_mean"] or 0.0),
            row["genotype"],
        ),
    )


def run_status(run: RunDirectory) -> str:
    """pending, running, interrupted, completed (single trials may have failed), or failed (all of a single run)."""
    if run.in_use():
        return "running"
    state = run.read("status.json")
    if state is not None:
        return "interrupted" if state["status"] == "running" else str(state["status"])
    everything = [read_trial(trial) for trial in jobs(run)]
    if not any(record.rows or record.result for record in everything):
        return "pending"
    statuses = {record.status for record in everything}
    if statuses & {"pending", "halted", "paused", "damaged"}:
        return "interrupted"
    return "failed" if statuses == {"failed"} else "completed"


class FaultOfTrial(FaultEntry):
    """What befell a trial of a stage from outside."""

    stage: str
    trial: str


def faults(run: RunDirectory) -> list[FaultOfTrial]:
    """What befell trials from outside (failures.jsonl), those retried too."""
    of_trials = each(lambda trial: (trial, trial.failures()), jobs(run), run.path)
    return [{"stage": stage_of(trial), "trial": trial.id, **entry} for trial, entries in of_trials for entry in entries]


def report_json(run: RunDirectory) -> dict[str, object]:
    """Everything a report shows, as one JSON-able value; what is not known is null, never NaN."""
    description = run.description()
    searched = trials(run)
    described = {record.id: record.description for record in searched}
    score, done = score_of(description), evaluations(run)
    search_score = search_score_of(description)
    evaluated = evaluation_rows(done, score)
    report = {
        "name": run.name,
        "kind": description["kind"],
        "question": description.get("question") or "",
        "status": run_status(run),
        "spec": description["spec"],
        "trials": [
            {
                "id": record.id,
                "status": record.status,
                "configuration": None if record.configuration is None else name_of(record.configuration),
                "search_seed": record.search_seed,
                "config": record.description.get("config"),
                "choices": record.description.get("choices"),
                "lineage": lineage(record.id, record.epochs, lambda name: described.get(name, {})),
                "metrics": record.metrics,
                "genotype": record.genotype,
                "genotype_id": record.genotype_id,
                "skips": record.skips,
                "epochs": record.epochs,
                "seconds": record.result.get("seconds"),
                "error": record.result.get("error"),
                "unhealthy": search_score.unhealthy(record.judged) if record.genotype is not None else None,
                "reason": record.result.get("reason"),
                "order": record.order(search_score),
            }
            for record in searched
        ],
        "configurations": [each.to_json() for each in configurations(searched, search_score_of(description))],
        "genotypes": distinct_genotypes(searched),
        "promotion": run.read("promotion.json"),
        "evaluations": evaluated,
        "score": score.to_json(),
        "search_score": search_score.to_json(),
        "ranking": ranking(evaluated, score),
        "baselines": baselines(done),
        "faults": faults(run),
        "stages": [stage_report(run, stage.name, stage.source) for stage in stages_of(description)],
        "damaged": [] if run.damage is None else run.damage.problems,
    }
    return dict(plain(report))


def stage_report(run: RunDirectory, stage: str, source: str) -> dict[str, object]:
    """A retraining stage by itself: no mean in it is of another stage's evaluation seeds."""
    score = score_of(run.description())
    rows = evaluation_rows(retrained(run, stage), score)
    return {
        "name": stage,
        "from": source,
        "promotion": read_promotion(run, stage),
        "evaluations": rows,
        "ranking": ranking(rows, score),
    }
