"""Which genotypes enter a stage of retraining, and why or why not: one decision for each distinct genotype."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raydarts.runs.configurations import Configuration, configurations
from raydarts.runs.results import TrialRecord, distinct_genotypes, ranking
from raydarts.study.objectives import Score

Key = tuple[int, int, int, float]
"""Orders what a search came to: completed, then stopped by epochs reached, each by score."""


def promotion_order(records: Iterable[TrialRecord], score: Score) -> list[TrialRecord]:
    """Completed trials by score, then stopped ones by epochs reached and score; failed ones never.

    With replicates configurations are ordered so, by their mean over search seeds, and then the trials of each. So a
    lucky seed brings no configuration to the front.
    """
    known = list(records)
    of_configuration = {
        record.id: (*_key(each.status, each.epochs, _mean(each), score), each.name)
        for each in configurations(known, score)
        for record in each.trials
    }

    def key(record: TrialRecord) -> tuple[Any, ...]:
        of_trial = _key(record.status, record.epochs, record.value(score), score)
        return (*of_configuration.get(record.id, ()), *of_trial, record.id)

    return sorted((record for record in known if record.status in ("completed", "stopped")), key=key)


def _key(status: str, epochs: int, value: float | None, score: Score) -> Key:
    stopped = status == "stopped"
    rank = math.inf if value is None else -score.sign * value
    return (int(stopped), -epochs if stopped else 0, int(value is None), rank)


def _mean(configuration: Configuration) -> float | None:
    return None if configuration.spread is None else configuration.spread.mean


def too_many_skips(skips: Mapping[str, int], max_skips: int | None) -> str | None:
    """Why a genotype with so many skip connections in each cell type counts as collapsed, or None."""
    if max_skips is None:
        return None
    over = {name: count for name, count in skips.items() if count > max_skips}
    if not over:
        return None
    counts = ", ".join(f"{count} in {name}" for name, count in over.items())
    return f"skip connections: {counts}; max_skips is {max_skips}"


def _decide(
    entries: Iterable[tuple[Mapping[str, Any], str | None, str]], top_k: int, what: str
) -> list[dict[str, Any]]:
    """Take the first `top_k` of the entries that nothing speaks against.

    An entry: the genotype with all that is kept of it, what speaks against it, and what else its reason tells.
    """
    decisions: list[dict[str, Any]] = []
    promoted = 0
    for entry, against, told in entries:
        chosen = against is None and promoted < top_k
        promoted += chosen
        place = f"number {promoted} of top_k {top_k}" if chosen else f"below the {what} {top_k} (top_k)"
        decisions.append({**entry, "promoted": chosen, "reason": against or f"{place}{told}"})
    return decisions


def promotion(records: Sequence[TrialRecord], score: Score, top_k: int, max_skips: int | None) -> list[dict[str, Any]]:
    """Of the genotypes that searches found, best first by the search's own score (`promotion_order`).

    With replicates all genotypes of the best configuration come before those of the next one.
    """
    ordered = promotion_order(records, score)
    configuration = {record.id: each for each in configurations(records, score) for record in each.trials}
    first = {record.genotype_id: record for record in reversed(ordered)}
    entries = []
    for entry in distinct_genotypes(ordered):
        best = first[entry["id"]]
        known = {"best_trial": best.id, "status": best.status, "epochs": best.epochs, score.metric: best.value(score)}
        told = ""
        if best.id in configuration:
            whole = configuration[best.id].to_json()
            known |= {key: whole[key] for key in ("configuration", "mean", "sd", "n")}
            mean = "no score" if whole["mean"] is None else f"mean {score.metric} {whole['mean']:.4f}"
            told = f"; of configuration {whole['configuration']}, {mean} over {whole['n']} search seeds"
        entries.append(({**entry, **known}, too_many_skips(best.skips, max_skips), told))
    return _decide(entries, top_k, "best")


def admission(candidates: Iterable[Mapping[str, Any]], top_k: int, max_skips: int | None) -> list[dict[str, Any]]:
    """Of genotypes of elsewhere, in the order they come in."""
    entries = [(each, too_many_skips(each["skips"], max_skips), f"; {each['origin']}") for each in candidates]
    return _decide(entries, top_k, "first")


def narrowing(
    before: Iterable[Mapping[str, Any]],
    rows: Iterable[Mapping[str, Any]],
    source: str,
    score: Score,
    top_k: int,
    max_skips: int | None,
) -> list[dict[str, Any]]:
    """Of the genotypes that the stage `source` retrained, best first as `ranking` has them.

    `before`: the decisions by which they entered `source`; `rows`: its `evaluation_rows`. What has no completed
    retraining comes last, and never goes on.
    """
    ranked = {row["genotype"]: row for row in ranking(rows, score)}
    entered = {decision["id"]: decision for decision in before if decision["promoted"]}
    entries = []
    for name in [*ranked, *(name for name in entered if name not in ranked)]:
        known = {key: ranked.get(name, {}).get(key) for key in ("validation_mean", "validation_std", "n")}
        against = None if name in ranked else f"no retraining of {source} was completed"
        against = against or too_many_skips(entered[name].get("skips") or {}, max_skips)
        entries.append(({**entered[name], "from": source, **known}, against, f" in {source}"))
    return _decide(entries, top_k, "best")
