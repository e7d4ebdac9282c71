"""Reading what a run left on disk. Nothing here writes, trains, or needs torch or Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from raydarts.runs.directory import NOT_SCALAR, RunDirectory, TrialDirectory
from raydarts.runs.files import plain
from raydarts.runs.place import each
from raydarts.runs.score import ACCURACY, Score, score_of
from raydarts.runs.stages import EVALUATE, jobs, read_promotion, retrainings, stages_of


@dataclass(frozen=True)
class TrialRecord:
    """One trial or evaluation as it stands on disk. `epochs` counts the rows of its metrics."""

    id: str
    status: str
    description: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]

    @property
    def epochs(self) -> int:
        return len(self.rows)

    @property
    def metrics(self) -> dict[str, Any]:
        """The last epoch's metrics, without the genotype and the arch weights."""
        last = self.rows[-1] if self.rows else self.result.get("metrics", {})
        return {key: value for key, value in last.items() if key not in NOT_SCALAR}

    @property
    def genotype(self) -> Mapping[str, Any] | None:
        """The result's genotype; of a trial still going on, the last epoch's."""
        found = self.result.get("genotype") if self.result else (self.rows[-1].get("genotype") if self.rows else None)
        return found if isinstance(found, Mapping) else None

    @property
    def genotype_id(self) -> str | None:
        found = self.result.get("genotype_id")
        return str(found) if found else None

    @property
    def skips(self) -> dict[str, int]:
        """Skip connections per cell type; empty where no genotype is known."""
        if isinstance(self.result.get("skips"), Mapping):
            return {str(key): int(value) for key, value in self.result["skips"].items()}
        found = {key[len("skips_") :]: value for key, value in self.metrics.items() if key.startswith("skips_")}
        return {key: int(value) for key, value in found.items() if isinstance(value, int | float)}

    def value(self, metric: str) -> float | None:
        """A metric's last value, or None where it is absent or not finite."""
        found = self.metrics.get(metric)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return float(found)


def read_trial(trial: TrialDirectory, in_use: bool = False) -> TrialRecord:
    """One trial's record. Without a result it is running while a driver holds the run, else pending or halted."""
    result = trial.result()
    rows = trial.rows()
    if result is not None:
        status = str(result["status"])
    elif trial.halted() is not None:
        status = "halted"
    else:
        status = "running" if in_use and trial.owner() is not None else "pending"
    return TrialRecord(trial.id, status, trial.description(), rows, result or {})


def trials(run: RunDirectory) -> list[TrialRecord]:
    """All search trials in the order of their indices."""
    in_use = run.in_use()
    return each(lambda trial: read_trial(trial, in_use), run.trials(), run.path)


def evaluations(run: RunDirectory) -> list[TrialRecord]:
    return retrained(run, EVALUATE)


def retrained(run: RunDirectory, stage: str) -> list[TrialRecord]:
    """The records of a retraining stage."""
    in_use = run.in_use()
    return each(lambda trial: read_trial(trial, in_use), retrainings(run, stage), run.path)


def distinct_genotypes(records: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """Genotypes that differ as architectures, in the order met, each with the ids of its trials."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.genotype_id is None or record.genotype is None:
            continue
        entry = found.setdefault(
            record.genotype_id,
            {"id": record.genotype_id, "genotype": record.genotype, "trials": [], "skips": record.skips},
        )
        entry["trials"].append(record.id)
    return list(found.values())


def promotion_order(records: Iterable[TrialRecord], metric: str, mode: str) -> list[TrialRecord]:
    """Completed trials by metric, then stopped ones by epochs reached and metric; failed ones never."""
    sign = -1.0 if mode == "max" else 1.0

    def key(record: TrialRecord) -> tuple[int, int, int, float, str]:
        value = record.value(metric)
        stopped = record.status == "stopped"
        rank = math.inf if value is None else sign * value
        return (int(stopped), -record.epochs if stopped else 0, int(value is None), rank, record.id)

    return sorted((record for record in records if record.status in ("completed", "stopped")), key=key)


def too_many_skips(skips: Mapping[str, int], max_skips: int | None) -> str | None:
    """Why a genotype with so many skip connections in each cell type counts as collapsed, or None."""
    if max_skips is None:
        return None
    over = {name: count for name, count in skips.items() if count > max_skips}
    if not over:
        return None
    counts = ", ".join(f"{count} in {name}" for name, count in over.items())
    return f"skip connections: {counts}; max_skips is {max_skips}"


def promotion(
    records: Sequence[TrialRecord], metric: str, mode: str, top_k: int, max_skips: int | None
) -> list[dict[str, Any]]:
    """For each distinct genotype, best first, whether it goes on to evaluation, and why or why not."""
    ordered = promotion_order(records, metric, mode)
    first = {record.genotype_id: record for record in reversed(ordered)}
    decisions: list[dict[str, Any]] = []
    promoted = 0
    for entry in distinct_genotypes(ordered):
        best = first[entry["id"]]
        reason = too_many_skips(best.skips, max_skips)
        chosen = reason is None and promoted < top_k
        promoted += chosen
        if reason is None:
            reason = f"number {promoted} of top_k {top_k}" if chosen else f"below the best {top_k} (top_k)"
        decisions.append(
            {
                **entry,
                "promoted": chosen,
                "reason": reason,
                "best_trial": best.id,
                "status": best.status,
                "epochs": best.epochs,
                metric: best.value(metric),
            }
        )
    return decisions


def admission(candidates: Iterable[Mapping[str, Any]], top_k: int, max_skips: int | None) -> list[dict[str, Any]]:
    """As `promotion`, of genotypes of elsewhere, which come in the order they are to be taken in."""
    decisions: list[dict[str, Any]] = []
    promoted = 0
    for entry in candidates:
        reason = too_many_skips(entry["skips"], max_skips)
        chosen = reason is None and promoted < top_k
        promoted += chosen
        if reason is None:
            place = f"number {promoted} of top_k {top_k}" if chosen else f"below the first {top_k} (top_k)"
            reason = f"{place}; {entry['origin']}"
        decisions.append({**entry, "promoted": chosen, "reason": reason})
    return decisions


def narrowing(
    before: Iterable[Mapping[str, Any]],
    rows: Iterable[Mapping[str, Any]],
    source: str,
    top_k: int,
    max_skips: int | None,
    score: Score = ACCURACY,
) -> list[dict[str, Any]]:
    """For each genotype that `source` retrained, best first, whether it goes on to the next stage, and why or why not.

    `before`: the decisions by which they entered `source`; `rows`: its `evaluation_rows`. Ranked as `ranking` does;
    what has no completed retraining comes last, and never goes on.
    """
    ranked = {row["genotype"]: row for row in ranking(rows, score)}
    entered = {decision["id"]: decision for decision in before if decision["promoted"]}
    decisions: list[dict[str, Any]] = []
    promoted = 0
    for name in [*ranked, *(name for name in entered if name not in ranked)]:
        row = ranked.get(name, {})
        reason = f"no retraining of {source} was completed" if name not in ranked else None
        reason = reason or too_many_skips(entered[name].get("skips") or {}, max_skips)
        chosen = reason is None and promoted < top_k
        promoted += chosen
        if reason is None:
            place = f"number {promoted} of top_k {top_k}" if chosen else f"below the best {top_k} (top_k)"
            reason = f"{place} in {source}"
        known = {key: row.get(key) for key in ("validation_mean", "validation_std", "n")}
        decisions.append({**entered[name], "promoted": chosen, "reason": reason, "from": source, **known})
    return decisions


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _std(values: Sequence[float]) -> float | None:
    """The sample standard deviation (n - 1); None of a single value, whose spread nobody knows."""
    return stdev(values) if len(values) > 1 else None


def evaluation_rows(records: Iterable[TrialRecord], score: Score = ACCURACY) -> list[dict[str, Any]]:
    """One row an evaluation: genotype id, seed, status, its score and the same of test data (None unless completed)."""
    rows = []
    for record in records:
        done = record.status == "completed"
        outcome = {**record.metrics, **record.result.get("result", {})} if done else {}
        rows.append(
            {
                "genotype": record.description["genotype_id"],
                "seed": record.description["seed"],
                "status": record.status,
                "epochs": record.epochs,
                score.metric: outcome.get(score.metric),
                score.test: outcome.get(score.test),
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
        for name, parts in (record.result.get("result", {}).get("baselines") or {}).items():
            for part, value in parts.items():
                if value is not None:
                    values.setdefault(name, {}).setdefault(part, []).append(value)
    return {name: {part: fmean(found) for part, found in parts.items()} for name, parts in values.items()}


def ranking(rows: Iterable[Mapping[str, Any]], score: Score = ACCURACY) -> list[dict[str, Any]]:
    """Genotypes by their mean score over evaluation seeds, best first; figures of test data never order."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] == "completed":
            grouped.setdefault(row["genotype"], []).append(row)
    table = []
    for genotype, group in grouped.items():
        validation = [row[score.metric] for row in group if row[score.metric] is not None]
        test = [row[score.test] for row in group if row[score.test] is not None]
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
    if statuses & {"pending", "halted"}:
        return "interrupted"
    return "failed" if statuses == {"failed"} else "completed"


def report_json(run: RunDirectory) -> dict[str, Any]:
    """Everything a report shows, as one JSON-able value; what is not known is null, never NaN."""
    description = run.description()
    searched = trials(run)
    score, done = score_of(description), evaluations(run)
    evaluated = evaluation_rows(done, score)
    report = {
        "name": run.name,
        "kind": description["kind"],
        "question": description["question"],
        "status": run_status(run),
        "spec": description["spec"],
        "trials": [
            {
                "id": record.id,
                "status": record.status,
                "config": record.description.get("config"),
                "choices": record.description.get("choices"),
                "metrics": record.metrics,
                "genotype": record.genotype,
                "genotype_id": record.genotype_id,
                "skips": record.skips,
                "epochs": record.epochs,
                "seconds": record.result.get("seconds"),
                "error": record.result.get("error"),
            }
            for record in searched
        ],
        "genotypes": distinct_genotypes(searched),
        "promotion": run.read("promotion.json"),
        "evaluations": evaluated,
        "score": score.to_json(),
        "ranking": ranking(evaluated, score),
        "baselines": baselines(done),
        "stages": [stage_report(run, stage.name, stage.source) for stage in stages_of(description)],
    }
    return dict(plain(report))


def stage_report(run: RunDirectory, stage: str, source: str) -> dict[str, Any]:
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
