"""Genotypes by what their retrainings came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TypedDict

from raydarts.study.objectives import Score, figure
from raydarts.study.random_cells import RANDOM_CELL, discovered, is_random, only_random
from raydarts.study.results import TrialRecord


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
                RANDOM_CELL: is_random(record.description),
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
    random_cell: bool


def ranking(rows: Iterable[Mapping[str, object]], score: Score) -> list[RankedEntry]:
    """Genotypes by their mean score over evaluation seeds, best first; figures of test data never order.

    Random cells are not among them: the first of a ranking is the answer of a run. `random_ranking` has these.
    """
    return _ranked(discovered(rows), score)


def random_ranking(rows: Iterable[Mapping[str, object]], score: Score) -> list[RankedEntry]:
    """The same of the random cells."""
    return _ranked(only_random(rows), score)


def _ranked(rows: Iterable[Mapping[str, object]], score: Score) -> list[RankedEntry]:
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
                "random_cell": is_random(group[0]),
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
