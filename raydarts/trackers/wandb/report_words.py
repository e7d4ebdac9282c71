"""The words and tables of a W&B report, as markdown: every number comes from the run's directory."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from raydarts.errors import GenotypeError
from raydarts.json_types import number as plain_number
from raydarts.report import notes, stats
from raydarts.report.figures import supernet_against_retrained
from raydarts.report.findings import Finding, findings, undecided
from raydarts.report.gather import Retrained, Run, Searched
from raydarts.report.html import ranking as ranking_table
from raydarts.report.importance import FANOVA, PED, importances, reasons
from raydarts.report.limits import COUNT
from raydarts.report.wording import duration, number
from raydarts.study.noise_words import noise_words
from raydarts.trackers.wandb.names import Names

_MOST_ROWS = 30
_DRAWN = 5
_FEW = 5
"""As many values of a strength get a row each; of more, thirds do."""
_MARKUP = re.compile(r"([\\`*{}\[\]#!|$~@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LIST_OR_RULE = re.compile(r"^([-+=])")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def clean(text: object) -> str:
    """Plain text: halves of surrogate pairs become `?`, control characters (those of direction too) blanks."""
    whole = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(each if each in "\n\t" or each.isprintable() or each == "\u00a0" else " " for each in whole)


def escape(text: object) -> str:
    """One line of markdown that reads as `text`: no HTML, emphasis, link, image, formula, heading, list or cell."""
    line = _MARKUP.sub(r"\\\1", " ".join(clean(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = line.replace("://", r"\://").replace("www.", r"www\.")  # else made links without being asked
    return _NUMBERED.sub(r"\1\\\2", _LIST_OR_RULE.sub(r"\\\1", line))


def bullets(lines: Iterable[str]) -> str:
    """A list of lines, each escaped."""
    return "\n".join(f"- {escape(line)}" for line in lines)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table, every cell escaped; an empty cell is `-`."""
    lines = [[escape(header) for header in headers], ["---"] * len(headers)]
    lines += [[_cell(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(value: object) -> str:
    return "-" if value in ("", "-") else escape(value)


def results(run: Run) -> str:
    """The findings, what could not be told from noise, and what the design does not let one say."""
    every = findings(run)
    claims = [finding for finding in every if finding.claims]
    parts = [_claims(claims, len(every))]
    for heading, lines in (
        ("Not told from noise (which is not evidence of no effect):", undecided(every)),
        ("Counted:", notes.facts(run)),
        ("To be kept in mind:", notes.cautions(run)),
        ("The run:", [f"{name}: {count}" for name, count in notes.counts(run)]),
    ):
        if lines:
            parts.append(f"**{heading}**\n\n{bullets(lines)}")
    return "\n\n".join(parts)


def _claims(claims: Sequence[Finding], tests: int) -> str:
    if not tests:
        return "Nothing was tested: there are too few completed trials, or all of them measured the same."
    how = (
        f"{tests} hypotheses were tested by permutation ({stats.DRAWS:,} permutations); a sentence claims an effect "
        f"only where Holm's adjusted p is at most {100 * stats.ALPHA:.0f} %."
    )
    if not claims:
        return f"No effect could be told from noise.\n\n{escape(how)}"
    lines = "\n".join(f"- {escape(each.sentence)} *{escape(each.evidence)}*" for each in claims)
    return f"{lines}\n\n{escape(how)}"


def importance(run: Run) -> str:
    """Optuna's importances, named; W&B's panel computes its own."""
    rows = [
        [
            words,
            each.label,
            f"{each.ped:.3f}",
            "-" if each.fanova is None else f"{each.fanova:.3f}",
            str(each.n),
        ]
        for target, words in (("metric", f"supernet {run.metric.replace('_', ' ')}"), ("skips", "few skip connections"))
        for each in importances(run, target)
    ]
    panel = "The importance panel is computed by W&B on its own terms and need not agree."
    if not rows:
        return escape(f"No importance of ours: {reasons(run)}. {panel}")
    caption = (
        f"Shares of importance. PED-ANOVA: {PED}. fANOVA: {FANOVA}, over the trials in which the setting exists. "
        f"Neither has an interval: the search seed's share, which is luck, shows how large a share means nothing. "
        f"{panel}"
    )
    headers = ["for", "hyperparameter", "PED-ANOVA", "fANOVA", "trials with it"]
    return f"{table(headers, rows)}\n\n{escape(caption)}"


def collapse(run: Run, strengths: Sequence[str], configs: Mapping[str, Mapping[str, object]]) -> str:
    """Skip connections (all cell types together) by each regularizer's strength. `configs`: trial id to flat config."""
    rows = []
    for key in strengths:
        units = [
            (plain_number(configs[search.id][key]) or 0.0, search)
            for search in run.completed
            if search.skips is not None and key in configs.get(search.id, {})
        ]
        rows += [[key, label, *_mean_of_skips(run, part)] for label, part in _parts(units)]
    if not rows:
        return (
            "No numeric setting of a regularizer was swept, or no completed search says how many skip connections "
            "it has. So there is no strength to compare collapse with."
        )
    caption = (
        "Skip connections of all cell types together, completed searches; mean, sample standard deviation, n and "
        f"Student's 95 % interval over {run.unit}, whose search seeds and other settings differ. The sentences above "
        "compare at equal seeds and settings instead."
    )
    headers = ["regularizer", "strength", "mean skips", "std", f"n {run.unit}", "95 % interval"]
    return f"{table(headers, rows)}\n\n{escape(caption)}"


def _parts(units: Sequence[tuple[float, Searched]]) -> list[tuple[str, list[Searched]]]:
    """The searches of each value, or of each third where there are many values."""
    values = sorted({value for value, _ in units})
    if len(values) <= _FEW:
        return [(number(value), [search for at, search in units if at == value]) for value in values]
    ordered = sorted(units, key=lambda unit: unit[0])
    cuts = [0, len(ordered) // 3, 2 * len(ordered) // 3, len(ordered)]
    thirds = [ordered[low:high] for low, high in itertools.pairwise(cuts)]
    return [
        (f"{number(third[0][0])} to {number(third[-1][0])}", [search for _, search in third])
        for third in thirds
        if third
    ]


def _mean_of_skips(run: Run, searches: Sequence[Searched]) -> list[str]:
    ids = {search.id for search in searches}
    units = run.units(lambda search: search.skips if search.id in ids else None)
    mean = stats.mean_of([count for _, count in units], COUNT)
    if mean is None:
        return ["-", "-", "0", "-"]
    interval = "none: n is 1" if mean.low is None or mean.high is None else f"{mean.low:.2f} to {mean.high:.2f}"
    return [f"{mean.value:.2f}", "-" if mean.std is None else f"{mean.std:.2f}", str(mean.n), interval]


def ranking(run: Run) -> str:
    """Retrained genotypes, best mean first, with search seeds and evaluation seeds apart."""
    whole = ranking_table(run)
    if not whole.rows:
        return "No genotype has been retrained (yet), so nothing is ranked."
    count = len(whole.rows)
    cut = f" The first {_MOST_ROWS} of {count} are shown." if count > _MOST_ROWS else ""
    caption = (
        f"Ranked by mean {run.score.words} over evaluation seeds (std, n and interval are over evaluation seeds); "
        f"search seeds are those of the trials that found the genotype. The first row is the best of {count} "
        f"{'genotype' if count == 1 else 'genotypes'}, 'best single' the best of as many retrainings as it says: both "
        f"overstate what one may expect. Test {run.score.measure} orders nothing.{cut}"
    )
    parts = [table(whole.headers, whole.rows[:_MOST_ROWS]), bullets(noise_words(run.noise, run.score)), escape(caption)]
    return "\n\n".join(part for part in parts if part)


def misleading(run: Run) -> str:
    """What the supernet said of each genotype, and what retraining said."""
    figure = supernet_against_retrained(run)
    if figure.missing:
        return escape(f"Not shown: {figure.missing}.")
    caption = (
        f"Were the supernet's score to be trusted, it would worsen from row to row as retrained {run.score.measure} "
        "does."
    )
    return f"{table(figure.headers, figure.rows[:_MOST_ROWS])}\n\n{escape(caption)}"


def genotypes(run: Run) -> str:
    """The edges of the best retrained genotypes; without retrainings, of the best searches."""
    known = {name: searches[0] for name, searches in run.searches_by_genotype.items() if searches[0].genotype}
    chosen = list(run.ranked)
    order = "the best retrained genotypes"
    if not chosen:
        sign = -run.supernet.sign
        scored = [name for name in known if name in run.supernet_mean]
        chosen, order = sorted(scored, key=lambda name: sign * run.supernet_mean[name]), "the best-scored genotypes"
    chosen = [name for name in chosen if name in known][:_DRAWN]
    if not chosen:
        return "No genotype is known yet."
    note = (
        f"Edges of {order} ({len(chosen)} of {len(run.searches_by_genotype)} distinct). A report takes no image "
        "of its own: the "
        "drawings above are the media of the searches' W&B runs."
    )
    parts = [escape(note)]
    for name in chosen:
        try:
            text = table(["cell", "node", "edges (primitive from node)"], _edges(known[name].genotype or {}))
        except GenotypeError as error:  # edited by hand, or of a space that is no longer here
            text = escape(error)
        parts.append(f"**{escape(name)}**\n\n{text}")
    return "\n\n".join(parts)


def _edges(genotype: Mapping[str, object]) -> list[list[str]]:
    """A row for each node of each cell type."""
    from raydarts.spaces import Genotype  # noqa: PLC0415 - takes seconds to import

    read = Genotype.from_json(dict(genotype))
    rows = []
    for cell in read.cell_types:
        for node, edges in enumerate(read[cell].nodes, 2 if cell in ("normal", "reduce") else 1):
            rows.append([cell, str(node), ", ".join(f"{primitive} from {src}" for primitive, src in edges) or "none"])
    return rows


def cost(run: Run) -> str:
    """Time by stage: sum, mean with spread, and what was run again."""
    rows = []
    hosts = set()
    clock: list[float] = []
    for stage, jobs in (("search", run.searches), ("retraining", [*run.retrainings, *run.random_retrainings])):
        spent = [sum(end - start for start, end in _spans(job)) for job in jobs if job.times]
        hosts |= {str(entry.get("host")) for job in jobs for entry in job.times}
        clock += [at for job in jobs for span in _spans(job) for at in span]
        mean = stats.mean_of(spent, COUNT)
        if mean is None:
            continue
        again = sum(len(job.times) - job.epochs for job in jobs if len(job.times) > job.epochs)
        interval = "none: n is 1"
        if mean.low is not None and mean.high is not None:
            interval = f"{duration(mean.low)} to {duration(mean.high)}"
        std = "-" if mean.std is None else duration(mean.std)
        rows.append([stage, str(mean.n), duration(sum(spent)), duration(mean.value), std, interval, str(again)])
    if not rows:
        return "No times were recorded."
    headers = ["stage", "n jobs", "time, all together", "mean a job", "std", "95 % interval of the mean"]
    caption = (
        f"From the first epoch's start to the last one's end {duration(max(clock) - min(clock))} went by on "
        f"{len(hosts)} {'machine' if len(hosts) == 1 else 'machines'}. Times include epochs that were run again."
    )
    return f"{table([*headers, 'epochs run again'], rows)}\n\n{escape(caption)}"


def _spans(job: Searched | Retrained) -> list[tuple[float, float]]:
    """Returns the start and the end of each epoch of a job, in seconds since 1970."""
    return [(entry["start"], entry["end"]) for entry in job.times]


def configs_by_trial(run: Run, names: Names) -> dict[str, Mapping[str, object]]:
    """Trial id to flat config."""
    return {search.id: config for search, config in zip(run.searches, names.configs, strict=True)}
