"""Which genotypes enter a stage of retraining, and why or why not: one decision for each distinct genotype."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from raydarts.genotypes.genotype import describe_genotype
from raydarts.json_types import items, number, section, whole
from raydarts.study.allocation import at_equal_size, places
from raydarts.study.configurations import configurations
from raydarts.study.front import named
from raydarts.study.objectives import Score, SearchScore
from raydarts.study.random_cells import discovered
from raydarts.study.ranking import ranking
from raydarts.study.results import TrialRecord, distinct_genotypes
from raydarts.study.standing import Standings


def promotion_order(records: Iterable[TrialRecord], score: SearchScore) -> list[TrialRecord]:
    """Completed trials by the objective, then stopped ones by epochs reached and the objective; failed ones never.

    Before all that come the trials that nothing speaks against, in the same order: a healthy trial that was stopped
    comes before a collapsed one that was completed. With replicates configurations are ordered so, by the mean over
    their search seeds, and then the trials of each. So a lucky seed brings no configuration to the front.

    With several objectives the Pareto front of those alike in all that comes first, then the next front. On a front the
    crowding distance orders: the ends first, then those whose neighbours are far.
    """
    known = list(records)
    return _in_order(known, score, Standings(known, configurations(known, score), score))


def _in_order(records: Sequence[TrialRecord], score: SearchScore, standings: Standings) -> list[TrialRecord]:
    ended = [record for record in records if record.status in ("completed", "stopped")]
    return sorted(ended, key=lambda record: (bool(score.against(record.judged)), *standings.key(record)))


def too_many_skips(skips: Mapping[str, int], max_skips: int | None) -> str | None:
    """Why a genotype with so many skip connections in each cell type counts as collapsed, or None."""
    if max_skips is None:
        return None
    over = {name: count for name, count in skips.items() if count > max_skips}
    if not over:
        return None
    counts = ", ".join(f"{count} in {name}" for name, count in over.items())
    return f"skip connections: {counts}; max_skips is {max_skips}"


def _skips(entry: Mapping[str, object]) -> dict[str, int]:
    """The skip connections of a genotype in each cell type."""
    return {name: whole(count) for name, count in section(entry.get("skips")).items()}


def _decide(
    entries: Sequence[tuple[Mapping[str, object], str | None, str]], top_k: int | str, what: str
) -> list[dict[str, object]]:
    """Take the first `top_k` of the entries that nothing speaks against.

    An entry: the genotype with all that is kept of it, what speaks against it, and what else its reason tells.
    """
    decisions: list[dict[str, object]] = []
    promoted = 0
    most = top_k if isinstance(top_k, int) else places(top_k, sum(against is None for _, against, _ in entries))
    named = f"top_k {most}" if most == top_k else f"top_k {top_k} ({most})"
    for entry, against, addition in entries:
        chosen = against is None and promoted < most
        promoted += chosen
        place = f"number {promoted} of {named}" if chosen else f"below the {what} {most} (top_k)"
        decisions.append({**entry, "promoted": chosen, "reason": against or f"{place}{addition}"})
    return decisions


def promotion(
    records: Sequence[TrialRecord], score: SearchScore, top_k: int | str, max_skips: int | None
) -> list[dict[str, object]]:
    """Of the genotypes that searches ended with, best first by the objective, or by the fronts of several.

    Behind those that nothing speaks against come the fallbacks: the last genotype of each other trial that nothing
    spoke against, of an earlier epoch. Behind these come the others. What speaks against a genotype stands in its
    entry (`against`) and its reason. With replicates all genotypes of the best configuration come before those of the
    next one. A `top_k` in words takes none of the others, unless there is no genotype that nothing speaks against.
    """
    groups = configurations(records, score)
    standings = Standings(records, groups, score)
    ordered = _in_order(records, score, standings)
    configuration = {record.id: each for each in groups for record in each.trials}
    first = {record.genotype_id: record for record in reversed(ordered)}
    entries: list[tuple[Mapping[str, object], str | None, str]] = []
    behind: list[tuple[Mapping[str, object], str | None, str]] = []
    for entry in distinct_genotypes(ordered):
        best = first[entry["id"]]
        known = {"best_trial": best.id, "status": best.status, "epochs": best.epochs, score.metric: best.value(score)}
        against = score.against(best.judged)
        more: dict[str, object] = {"against": against} if against else {}
        addition = f"; no genotype is left that nothing speaks against; {'; '.join(against)}" if against else ""
        if best.id in configuration:
            of = configuration[best.id].to_json()
            more |= {key: of[key] for key in ("configuration", "mean", "sd", "n")}
            mean = "no score" if of["mean"] is None else f"mean {score.metric} {of['mean']:.4f}"
            addition += f"; of configuration {of['configuration']}, {mean} over {of['n']} search seeds"
        if (place := standings.place(best)) is not None and (figures := named(score, best.figures(score))) is not None:
            more |= {"front": place.front, "figures": figures}
            shown = ", ".join(f"{name} {value:.6g}" for name, value in figures.items())
            addition += f"; {place.words} ({shown})"
        whole = ({**entry, **known, **more}, too_many_skips(best.skips, max_skips), addition)
        (behind if against else entries).append(whole)
    there = {entry["id"] for entry, _, _ in [*entries, *behind]}
    entries += [
        (entry, too_many_skips(_skips(entry), max_skips), addition)
        for entry, addition in fallbacks(ordered, score)
        if entry["id"] not in there
    ]
    if not isinstance(top_k, int) and any(why is None for _, why, _ in entries):
        behind = [(entry, why or f"left out: {_why_not(entry)}", addition) for entry, why, addition in behind]
    return _decide([*entries, *behind], top_k, "best")


def _why_not(entry: Mapping[str, object]) -> str:
    return "; ".join(map(str, items(entry.get("against"))))


def fallbacks(ordered: Iterable[TrialRecord], score: SearchScore) -> list[tuple[dict[str, object], str]]:
    """The last genotype of each trial that nothing spoke against, of trials whose result something speaks against.

    Each comes with what its reason tells. Those of later epochs come first, then the better ones. Without health and
    constraints there are none.
    """
    kept: list[tuple[tuple[int, float], dict[str, object], str]] = []
    for record in ordered:
        if not score.against(record.judged):
            continue
        row = next((row for row in reversed(record.rows) if _usable(row, score)), None)
        if row is None:
            continue
        genotype, epoch, value = section(row["genotype"]), whole(row["epoch"]), score.of(row)
        described = describe_genotype(genotype)
        entry = {
            "id": described["genotype_id"],
            "genotype": genotype,
            "trials": [record.id],
            "skips": described["skips"],
            "best_trial": record.id,
            "status": record.status,
            "epochs": epoch,
            score.metric: value,
            "fallback": {"trial": record.id, "epoch": epoch},
        }
        addition = f"; a fallback: the genotype of trial {record.id} at epoch {epoch}, before it collapsed"
        kept.append(((-epoch, -score.sign * (value or 0.0)), entry, addition))
    ranked = sorted(kept, key=lambda each: (each[0], each[1]["best_trial"]))
    once = {entry["id"]: (entry, addition) for _, entry, addition in reversed(ranked)}
    return list(reversed(once.values()))


def _usable(row: Mapping[str, object], score: SearchScore) -> bool:
    there = isinstance(row.get("genotype"), Mapping) and row.get("epoch") is not None
    return there and score.of(row) is not None and not score.against(row)


def admission(
    candidates: Iterable[Mapping[str, object]], top_k: int | str, max_skips: int | None
) -> list[dict[str, object]]:
    """Of genotypes of elsewhere, in the order they come in."""
    entries = [(each, too_many_skips(_skips(each), max_skips), f"; {each['origin']}") for each in candidates]
    return _decide(entries, top_k, "first")


def narrowing(
    before: Iterable[Mapping[str, object]],
    rows: Iterable[Mapping[str, object]],
    source: str,
    score: Score,
    top_k: int | str,
    max_skips: int | None,
    sizes: Mapping[str, float] | None = None,
) -> list[dict[str, object]]:
    """Of the genotypes that the stage `source` retrained, best first as `ranking` has them.

    `before`: the decisions by which they entered `source`; `rows`: its `evaluation_rows`. What has no completed
    retraining comes last, and never goes on. Neither does a random cell. `sizes`: the parameters of each network. With
    them the order is that of the scores at equal size (`allocation.at_equal_size`), because `source` trained for a
    short time.
    """
    ranked = {row["genotype"]: row for row in ranking(rows, score)}
    entered = {str(decision["id"]): decision for decision in discovered(before) if decision["promoted"]}
    measured = {name: mean for name, row in ranked.items() if (mean := number(row["validation_mean"])) is not None}
    corrected: dict[str, float] = {}
    if sizes is not None:
        signed = at_equal_size({name: score.sign * mean for name, mean in measured.items()}, sizes)
        corrected = {name: score.sign * each for name, each in signed.items()}
    names = sorted(ranked, key=lambda name: -score.sign * corrected[name] if name in corrected else math.inf)
    entries = []
    for name in [*(names if corrected else ranked), *(name for name in entered if name not in ranked)]:
        row: Mapping[str, object] = ranked.get(name, {})
        known: dict[str, object] = {key: row.get(key) for key in ("validation_mean", "validation_std", "n")}
        addition = f" in {source}"
        if name in corrected and corrected != measured:
            known |= {"parameters": (sizes or {}).get(name), "at_equal_size": corrected[name]}
            addition += f", by {corrected[name]:.4f} at equal size ({measured[name]:.4f} measured)"
        against = None if name in ranked else f"no retraining of {source} was completed"
        against = against or too_many_skips(_skips(entered[name]), max_skips)
        entries.append(({**entered[name], "from": source, **known}, against, addition))
    return _decide(entries, top_k, "best")
