"""`raydarts report RUN --html`: one file that needs no network. Its tables need no script either."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from raydarts import __version__
from raydarts.errors import InputError
from raydarts.json_types import items, section
from raydarts.report import figures, notes, stats
from raydarts.report.answer import answer
from raydarts.report.figures_all import Sections, sections
from raydarts.report.findings import findings, undecided
from raydarts.report.gather import Run, gather
from raydarts.report.limits import limits_of
from raydarts.report.page import Page, stylesheet
from raydarts.report.tables import fault_name, health_text
from raydarts.report.wording import duration, number, score_text
from raydarts.runs.faults import WORDS
from raydarts.runs.reading import Damage
from raydarts.storage.place import Place, place_of, write_bytes
from raydarts.study.noise_words import noise_words, places_by_genotype

_LONGEST_ERROR = 2000


@dataclass(frozen=True)
class Table:
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_html(path: Place, out: Place | None = None, damage: Damage | None = None) -> Place:
    """Writes the report of the run at `path`. `out` is report.html in its directory by default. `damage` is as in
    `gather`.

    Raises `RunError` if `path` is no run, `InputError` if `out` cannot be written.
    """
    return write_page(gather(path, damage), place_of(path) / "report.html" if out is None else out)


def write_page(run: Run, target: Place) -> Place:
    """Writes the report of a run that is read already. Raises `InputError` if `target` cannot be written."""
    if not target.parent.is_dir() or target.is_dir():  # before the work is done
        raise InputError(f"{target}: the report cannot be written: its folder must exist, and it must be a file")
    try:
        write_bytes(target, render(run).encode("utf-8", "replace"))  # a spec may hold half a surrogate pair
    except OSError as error:
        raise InputError(f"{target}: the report cannot be written: {error.strerror or error}") from error
    return target


def render(run: Run) -> str:
    """Returns the page. The template escapes every text of the run."""
    page = Page(run, parts := sections(run))
    return page.filled(environment().get_template("report.html.j2").render(context(run, parts), page=page))


def environment() -> Environment:
    """Returns what renders pages. Every text is escaped."""
    made = Environment(
        loader=PackageLoader("raydarts.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["tight"] = lambda text: text.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")
    made.globals["stylesheet"] = stylesheet()
    return made


def context(run: Run, parts: Sections | None = None) -> dict[str, object]:
    """Returns everything that the template shows, `page` aside. `parts`: the sections, if they are made already."""
    parts = sections(run) if parts is None else parts
    results = findings(run)
    return {
        "run": run,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "counts": notes.counts(run),
        "answer": answer(run),
        "claims": [finding for finding in results if finding.claims],
        "tests": len(results),
        "alpha": f"{100 * stats.ALPHA:.0f}",
        "draws": f"{stats.DRAWS:,}",
        "undecided": undecided(results),
        "facts": notes.facts(run),
        "cautions": notes.cautions(run),
        "tested": Table(
            ["hypothesis", "outcome", "test", "n", "estimate", "p", "Holm-adjusted p", "claimed"],
            [
                [
                    each.label or each.subject,
                    each.outcome,
                    each.test,
                    str(each.n),
                    "-" if each.estimate is None else number(each.estimate),
                    number(each.p),
                    number(each.adjusted),
                    "yes" if each.claims else "no",
                ]
                for each in results
            ],
        ),
        "ranking": ranking(run),
        "noise": noise_words(run.noise, run.score),
        "stages": [
            (name, ranking(stage), noise_words(stage.noise, stage.score), promotion(stage))
            for name, stage in run.stages.items()
        ],
        "random_cells": random_cells(run),
        "configurations": configurations(run),
        "trials": trials(run),
        "promotion": promotion(run),
        "failures": failures(run),
        "sections": parts,
        "spec": run.spec_text or json.dumps(run.spec, indent=2),
        "resolved": json.dumps(run.spec, indent=2),
        "versions": [
            (name, value or "not installed") for name, value in section(run.description.get("versions")).items()
        ],
        "commit": run.description.get("git_commit") or "not in a git checkout",
        "command": command(list(map(str, items(run.description.get("command"))))),
    }


def command(words: Sequence[str]) -> str:
    """Returns the command line that made the run, with the program's name only."""
    if not words:
        return ""
    return shlex.join([Path(words[0]).name, *words[1:]])


def _skips(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items()) or "-"


def ranking(run: Run) -> Table:
    """Returns retrained genotypes by their mean score over evaluation seeds. Test numbers order nothing."""
    rows = []
    score = run.score
    places = places_by_genotype(run.noise)
    for rank, name in enumerate(run.ranked, start=1):
        retrained = [each for each in run.retrainings if each.genotype_id == name and each.status == "completed"]
        test = stats.mean_of([each.test for each in retrained if each.test is not None], limits_of(score))
        tested = "-" if test is None else figures.mean_text(test, score)
        parameters = next((each.parameters for each in retrained if each.parameters is not None), None)
        trials = run.searches_by_genotype.get(name, [])
        seeds = sorted({search.seed for search in trials if search.seed is not None})
        rows.append(
            [
                str(rank),
                name,
                *figures.mean_cells(stats.mean_of(run.validation[name], limits_of(score)), score),
                f"{score_text(score, score.best(run.validation[name]))} (best of {len(run.validation[name])})",
                tested,
                "-" if parameters is None else f"{parameters:,}",
                _skips(trials[0].skips_by_cell) if trials else "-",
                ", ".join(search.id for search in trials[:8]) + (" ..." if len(trials) > 8 else ""),
                ", ".join(map(str, seeds)) or "-",
                *([places.get(name, "-")] if places else []),
            ]
        )
    unit = " %" if score.share else ""
    headers = ["rank", "genotype", f"validation mean{unit}", "std", "n evaluation seeds", "95 % interval of the mean"]
    headers += [f"best single{unit}", f"test mean{unit} (not used to rank)", "parameters", "skips", "found by trials"]
    headers += ["search seeds", *(["places it may truly have"] if places else [])]
    return Table(headers, rows)


def random_cells(run: Run) -> Table:
    """Returns the random cells by their mean score. They are the baseline, and rank nowhere."""
    score, done = run.score, [each for each in run.random_retrainings if each.status == "completed"]
    rows = []
    for name in dict.fromkeys(each.genotype_id for each in done):
        of = [each for each in done if each.genotype_id == name]
        validation, test = (
            stats.mean_of([value for value in values if value is not None], limits_of(score))
            for values in ([each.validation for each in of], [each.test for each in of])
        )
        parameters = next((each.parameters for each in of if each.parameters is not None), None)
        rows.append(
            [
                name,
                *figures.mean_cells(validation, score),
                "-" if test is None else figures.mean_text(test, score),
                "-" if parameters is None else f"{parameters:,}",
            ]
        )
    unit = " %" if score.share else ""
    headers = ["random cell", f"validation mean{unit}", "std", "n evaluation seeds", "95 % interval of the mean"]
    return Table([*headers, f"test mean{unit}", "parameters"], rows)


def configurations(run: Run) -> Table:
    """Returns every configuration with its mean over search seeds. Empty without replicates."""
    score = run.supernet
    headers = ["configuration", "status", *(setting.label for setting in run.settings)]
    headers += [f"{_supernet(run)}, mean{' %' if score.share else ''}", "std", "n search seeds", "trials"]
    rows = []
    for each in run.configurations:
        known = each.spread
        deviation = None if known is None else known.sd
        rows.append(
            [
                each.name,
                each.status,
                *(number(each.choices[s.name]) if s.name in each.choices else "-" for s in run.settings),
                "-" if known is None else score_text(score, known.mean),
                "-" if deviation is None else score_text(score, deviation),
                "0" if known is None else str(known.n),
                ", ".join(record.id for record in each.trials),
            ]
        )
    return Table(headers, rows)


def _supernet(run: Run) -> str:
    return f"supernet {run.metric.replace('_', ' ')}"


def trials(run: Run) -> Table:
    """Returns every search trial."""
    names = [setting.name for setting in run.settings]
    of = ["configuration"] if run.configurations else []
    headers = ["trial", *of, "status", "search seed", *(setting.label for setting in run.settings)]
    headers += [f"supernet {run.metric.replace('_', ' ')}", "skips", "health", "genotype", "epochs", "time"]
    copied = any(search.lineage for search in run.searches)
    headers += ["went on as a copy"] if copied else []
    rows = [
        [
            search.id,
            *("-" if search.configuration is None else f"{search.configuration:04d}" for _ in of),
            search.status,
            "-" if search.seed is None else str(search.seed),
            *(number(search.choices[name]) if name in search.choices else "-" for name in names),
            "-" if search.metric is None else figures.show_metric(run, search.metric),
            _skips(search.skips_by_cell),
            health_text(search.unhealthy, search.reason, bool(run.supernet.health)),
            search.genotype_id or "-",
            str(search.epochs),
            "-" if search.seconds is None else duration(search.seconds),
            *([search.lineage or "-"] if copied else []),
        ]
        for search in run.searches
    ]
    return Table(headers, rows)


def promotion(run: Run) -> Table:
    """Returns which genotypes were retrained, and why or why not."""
    rows = [
        [
            str(decision["id"]),
            "yes" if decision["promoted"] else "no",
            str(decision["reason"]),
            str(decision.get("best_trial", "-")),
            f"{len(items(decision['trials']))}",
        ]
        for decision in run.promotion
    ]
    return Table(["genotype", "retrained", "why", "best trial", "trials that found it"], rows)


def failures(run: Run) -> Table:
    """Returns what failed with its error, and faults from outside, also of trials that were retried."""
    rows = [[f"trial {s.id}", _error(s.error), str(s.epochs)] for s in run.searches if s.status == "failed"]
    rows += [
        [f"{stage}: genotype {r.genotype_id}, evaluation seed {r.seed}", _error(r.error), str(r.epochs)]
        for stage, r in run.all_retrainings
        if r.status == "failed"
    ]
    rows += [
        [f"fault: {fault_name(fault)}", _error(f"{WORDS[fault['what']]}: {fault['message']}"), str(fault["epochs"])]
        for fault in run.faults
    ]
    return Table(["what", "error", "epochs done"], rows)


def _error(text: str | None) -> str:
    error = text or "no error recorded"
    return error if len(error) <= _LONGEST_ERROR else error[:_LONGEST_ERROR] + " ..."
