"""Counts, and what a run's numbers cannot show. No sentence here claims an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.report import stats
from raydarts.report.gather import Retrained, Run
from raydarts.report.improvement import sentences
from raydarts.report.wording import listed, percent, score_with_unit
from raydarts.runs.folders import in_words, within_of

_NAMED = 10
"""How many damaged parts are named."""


def counts(run: Run) -> list[tuple[str, str]]:
    """Returns the run in a few numbers."""
    statuses = [search.status for search in run.searches]
    ended = [f"{statuses.count(name)} {name}" for name in dict.fromkeys(statuses)]
    evaluation_seeds = sorted({each.seed for each in run.retrainings})
    replicated = [("Configurations", f"{len(run.configurations)}, each with the same search seeds")]
    return [
        *(replicated if run.configurations else []),
        ("Search trials", f"{len(run.searches)}" + (f" ({', '.join(ended)})" if ended else "")),
        ("Search seeds", ", ".join(map(str, run.seeds[:12])) + (" ..." if len(run.seeds) > 12 else "") or "none"),
        ("Settings swept", listed([setting.label for setting in run.settings]) if run.settings else "none"),
        ("Distinct genotypes", str(len(run.searches_by_genotype))),
        ("Retrainings", _retrainings(run)),
        *([("Retrainings of random cells", _ended(run.random_retrainings))] if run.random_retrainings else []),
        ("Evaluation seeds", ", ".join(map(str, evaluation_seeds)) or "none"),
        *((f"Retrainings of {name}", _retrainings(stage)) for name, stage in run.stages.items()),
    ]


def _retrainings(run: Run) -> str:
    return _ended(run.retrainings)


def _ended(retrainings: Sequence[Retrained]) -> str:
    statuses = [each.status for each in retrainings]
    ended = [f"{statuses.count(name)} {name}" for name in dict.fromkeys(statuses)]
    return f"{len(statuses)}" + (f" ({', '.join(ended)})" if ended else "")


def facts(run: Run) -> list[str]:
    """Returns sentences that count, with n, and with an interval where one is needed."""
    lines = []
    known = [search for search in run.completed if search.skips_by_cell]
    if known:
        full = [s for s in known if any(_mostly_skips(s.genotype, cell, n) for cell, n in s.skips_by_cell.items())]
        low, high = stats.proportion(len(full), len(known))
        lines.append(
            f"Collapse: in {len(full)} of {len(known)} completed searches ({percent(len(full) / len(known), 0)} %, "
            f"95 % interval {percent(low, 0)} to {percent(high, 0)} %) more than half of the edges of a cell type are "
            f"skip "
            "connections."
        )
    done = [each for each in run.retrainings if each.validation is not None and each.status == "completed"]
    if done:
        best = max(done, key=lambda each: run.score.sign * (each.validation or 0.0))
        lines.append(
            f"The best single retraining reached {score_with_unit(run.score, best.validation)} {run.score.words} "
            f"({best.genotype_id}, evaluation seed {best.seed}): the best of {len(done)}, so it flatters the "
            f"genotype, which gives less on average."
        )
    lines += sentences(run.improvement, run.score)
    lines += [_beaten(run, name, parts) for name, parts in run.baselines.items()]
    return lines


def _beaten(run: Run, name: str, parts: Mapping[str, float]) -> str:
    """Returns a sentence on a baseline beside the best genotype's mean."""
    known = ", ".join(f"{score_with_unit(run.score, value)} {part}" for part, value in parts.items())
    line = f"Baseline, {name}: {run.score.measure} {known}"
    if not run.ranked or "validation" not in parts:
        return f"{line}."
    best = run.retrained_mean[run.ranked[0]]
    beats = "is better" if run.score.better(best, parts["validation"]) else "is NOT better"
    return f"{line}; the best genotype's mean of {score_with_unit(run.score, best)} {beats}."


def _mostly_skips(genotype: object, cell: str, count: int) -> bool:
    edges = genotype.get(cell) if isinstance(genotype, dict) else None
    if not isinstance(edges, list):
        return False
    flat = sum(1 for edge in edges if edge and isinstance(edge[0], str))
    total = flat or sum(len(node) for node in edges)
    return total > 0 and count > total / 2


def cautions(run: Run) -> list[str]:
    """Returns what the design of this run does not allow to conclude."""
    lines = []
    if len(run.seeds) == 1 and run.searches:
        more = "Give sweep.replicates several search seeds"
        lines.append(
            f"All searches share search seed {run.seeds[0]}: what is found holds for that seed, and nothing is known "
            f"of others. {more} to know more."
        )
    if run.configurations:
        lines.append(
            "Each configuration was searched with several search seeds, which are no independent searches of other "
            "settings. Effects, their means and their tests are over configurations. Counts, such as that of collapsed "
            "searches, are over searches."
        )
    if run.table is not None and run.validation:
        lines.append(
            f"Nothing was retrained: what is called retrained here was looked up in {run.table}, one value a cell. No "
            "spread between evaluation seeds is known, and differences may be luck of whoever trained the table."
        )
    elif len(run.validation) > 1 and max(map(len, run.validation.values())) < 2:
        lines.append(
            "Each genotype was retrained with one evaluation seed: no spread is known, and the ranking may be luck. "
            "Give evaluate.seeds more values."
        )
    lines += [
        "Evaluation seeds were added where the first places overlapped: the mean of a genotype with more seeds is "
        f"more exact. {in_words(entry, within_of(run.spec))}."
        for entry in run.allocation[-1:]
    ]
    if len(run.validation) > 1 and any(name.startswith("rung-") for name in run.stages):
        lines.append(
            "The genotypes were narrowed by short retrainings (rungs), measured on the same held-out images as the "
            "ranking: those that fitted these images by luck were the likelier to enter it. Accuracies of "
            "different stages are of different trainings, and are in no common mean."
        )
    if run.model_based:
        lines.append(
            f"The searcher ({run.searcher}) proposed settings in view of earlier results, so trials are not "
            "independent draws: p-values and intervals of settings are approximate."
        )
    lines += _copies(run)
    if run.supernet.warning and run.searches and run.description.get("kind") == "sweep":
        lines.append(run.supernet.warning)
    halted = [search.id for search in run.searches if (search.reason or "").startswith("collapsed")]
    if halted:
        lines.append(
            f"{_many(len(halted), 'search was', 'searches were')} halted because the cell had collapsed: "
            f"{', '.join(halted[:_NAMED])}{' ...' if len(halted) > _NAMED else ''}."
        )
    lines += [
        f"Genotype {each['id']} is retrained though no healthy search ended with it: {each['reason']}."
        for each in run.promotion
        if each["promoted"] and (each.get("fallback") or each.get("against"))
    ]
    stopped = sum(search.status == "stopped" and search.reason is None for search in run.searches)
    if stopped:
        lines.append(
            f"{_many(stopped, 'search was', 'searches were')} stopped early by the scheduler. Means and tests leave "
            f"out "
            "what was stopped, and so describe the searches that looked promising enough to finish."
        )
    searches = sum(search.status == "failed" for search in run.searches)
    again = sum(each.status == "failed" for _, each in run.all_retrainings)
    failed = [_many(searches, "search", "searches")] if searches else []
    failed += [_many(again, "retraining", "retrainings")] if again else []
    if failed:
        lines.append(
            f"{listed(failed)} failed. What failed is in no mean or test; if failing depends on settings, these are "
            "distorted."
        )
    if run.damaged:
        lines.append(
            f"{_many(len(run.damaged), 'part of this run is', 'parts of this run are')} damaged. What is damaged is in "
            f"no number here: {'; '.join(run.damaged[:_NAMED])}{' ...' if len(run.damaged) > _NAMED else ''}."
        )
    open_trials = sum(search.status in ("running", "pending", "paused", "halted") for search in run.searches)
    if open_trials:
        lines.append(f"{_many(open_trials, 'search has', 'searches have')} not ended yet: this report will change.")
    return lines


def _copies(run: Run) -> list[str]:
    """Returns what searches that went on as a copy of another do not allow to conclude."""
    copied = sum(bool(search.lineage) for search in run.searches)
    if not copied:
        return []
    return [
        f"{_many(copied, 'search', 'searches')} went on as a copy of another search, with other settings, and so had "
        "several. They are in no finding, figure or test about settings. The table of searches says what each comes "
        "from. Searches that were copied and their copies are not independent of one another."
    ]


def _many(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
