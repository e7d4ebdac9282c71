"""What decides who enters a stage, out of the files of a run. Asked when it starts, and again by a reader."""

from __future__ import annotations

from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import read_promotion
from raydarts.study.objectives import score_of, search_score_of
from raydarts.study.promotion import admission, narrowing, promotion
from raydarts.study.ranking import evaluation_rows
from raydarts.study.stages import GIVEN, SEARCH


def decisions_on_genotypes(
    run: RunDirectory, source: str, top_k: int, max_skips: int | None
) -> list[dict[str, object]]:
    """Returns the decision on each genotype that comes from `source`, the stage before. Random cells are not there."""
    description = run.description()
    if source == SEARCH:
        return promotion(results.trials(run), search_score_of(description), top_k, max_skips)
    if source == GIVEN:
        kept = description.get("genotypes") or {}
        return admission([dict(each) for each in kept["candidates"]], top_k, max_skips)
    before = read_promotion(run, source) or []
    score = score_of(description)
    rows = evaluation_rows(results.retrained(run, source), score)
    return narrowing(before, rows, source, score, top_k, max_skips)
