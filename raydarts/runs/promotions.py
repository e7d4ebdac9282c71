"""What decides who enters a stage, out of the files of a run. Asked when it starts, and again by a reader."""

from __future__ import annotations

from collections.abc import Iterable

from raydarts.json_types import number
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import read_promotion
from raydarts.study.objectives import score_of, search_score_of
from raydarts.study.promotion import admission, narrowing, promotion
from raydarts.study.ranking import evaluation_rows
from raydarts.study.results import TrialRecord
from raydarts.study.stages import GIVEN, SEARCH


def decisions_on_genotypes(
    run: RunDirectory, source: str, top_k: int | str, max_skips: int | None, *, at_equal_size: bool = False
) -> list[dict[str, object]]:
    """Returns the decision on each genotype that comes from `source`, the stage before. Random cells are not there.

    `at_equal_size`: whether scores of a short training are compared at equal size (`study.allocation`).
    """
    description = run.description()
    if source == SEARCH:
        return promotion(results.trials(run), search_score_of(description), top_k, max_skips)
    if source == GIVEN:
        kept = description.get("genotypes") or {}
        return admission([dict(each) for each in kept["candidates"]], top_k, max_skips)
    before = read_promotion(run, source) or []
    score = score_of(description)
    records = results.retrained(run, source)
    sizes = _sizes(records) if at_equal_size else None
    return narrowing(before, evaluation_rows(records, score), source, score, top_k, max_skips, sizes)


def _sizes(records: Iterable[TrialRecord]) -> dict[str, float]:
    """The parameters of each genotype's network, as its retrainings counted them."""
    sizes: dict[str, float] = {}
    for record in records:
        measured = record.result.get("result") or {}
        if (parameters := number(measured.get("parameters"))) is not None:
            sizes[record.description["genotype_id"]] = parameters
    return sizes
