"""The genotypes of a run by their ids, and the one that won."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from raydarts.errors import InputError, RunError
from raydarts.genotypes.genotype import Genotype
from raydarts.genotypes.papers import file_text
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import read_promotion
from raydarts.storage.place import Place, each, entries, make_folder, write_bytes
from raydarts.study.objectives import score_of, search_score_of
from raydarts.study.promotion import promotion_order
from raydarts.study.ranking import RankedEntry, evaluation_rows, ranking
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, SEARCH, stages_of

FOLDER = "genotypes"


@dataclass(frozen=True)
class Winner:
    """The best genotype of a run, and by what it is the best.

    `stage`: the stage whose ranking it leads, `search` where nothing was retrained. `ranked`: its means there. None:
    nothing was retrained. `trials`: the searches that ended with it. `against`: what speaks against it. Empty: nothing.
    """

    id: str
    genotype: Mapping[str, object]
    stage: str
    ranked: RankedEntry | None
    trials: tuple[str, ...]
    value: float | None
    against: tuple[str, ...] = ()


Ranked = list[tuple[RankedEntry, Mapping[str, object]]]
"""Genotypes, best first, each with its means."""


def rankings(run: RunDirectory) -> Iterator[tuple[str, Ranked]]:
    """Yields the ranking of each retraining stage by its name, the last stage first.

    Transfers are left out, because they rank for other data.
    """
    description = run.description()
    score = score_of(description)
    for stage in reversed([stage.name for stage in stages_of(description) if not stage.is_transfer]):
        records = results.retrained(run, stage)
        genotypes = {
            record.description["genotype_id"]: record.description["genotype"]
            for record in records
            if record.status == "completed"
        }
        yield stage, [(row, genotypes[row["genotype"]]) for row in ranking(evaluation_rows(records, score), score)]


def search_order(run: RunDirectory) -> list[TrialRecord]:
    """Returns the search trials that ended, best first: the order in which their genotypes are promoted."""
    return promotion_order(results.trials(run), search_score_of(run.description()))


def winner(run: RunDirectory) -> Winner | None:
    """Returns the best genotype: of `evaluate`'s ranking, else of the last rung's, else of the search.

    None: there is none yet.
    """
    ordered, search_score = search_order(run), search_score_of(run.description())
    for stage, ranked in rankings(run):
        for row, genotype in ranked:
            if row["validation_mean"] is not None:
                trials = tuple(each.id for each in ordered if each.genotype_id == row["genotype"])
                return Winner(row["genotype"], genotype, stage, row, trials, row["validation_mean"])
    for record in ordered:
        if record.genotype is not None and record.genotype_id is not None:
            trials = tuple(each.id for each in ordered if each.genotype_id == record.genotype_id)
            against = tuple(search_score.against(record.judged))
            return Winner(
                record.genotype_id, record.genotype, SEARCH, None, trials, record.value(search_score), against
            )
    return None


def genotypes(run: RunDirectory) -> dict[str, Mapping[str, object]]:
    """Returns every genotype that a search ended with or that a stage decided on, by id."""
    known = {each.genotype_id: each.genotype for each in results.trials(run) if each.genotype_id and each.genotype}
    stages = {EVALUATE, *(stage.name for stage in stages_of(run.description()))}
    for stage in sorted(stages):
        for decision in read_promotion(run, stage) or ():
            if isinstance(decision.get("genotype"), Mapping):
                known.setdefault(str(decision["id"]), decision["genotype"])  # type: ignore[arg-type]
        for record in results.retrained(run, stage):
            if isinstance(record.description.get("genotype"), Mapping):
                known.setdefault(record.description["genotype_id"], record.description["genotype"])
    return {str(name): genotype for name, genotype in known.items() if genotype is not None}


def chosen(run: RunDirectory, name: str | None) -> tuple[str, Genotype]:
    """Returns the genotype whose id begins with `name`, or the winner (None).

    Raises `RunError` if the run has none yet, and `InputError` if none or several begin so.
    """
    if name is None:
        best = winner(run)
        if best is None:
            raise RunError(f"{run.path}: this run has no genotype yet; wait for its first search to end")
        return best.id, Genotype.from_json(best.genotype, str(run.path))
    known = genotypes(run)
    fitting = [each for each in known if each.startswith(name)] if name not in known else [name]
    if len(fitting) != 1:
        listed = ", ".join(sorted(known)[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        what = f"{len(fitting)} genotypes begin with {name!r}" if fitting else f"has no genotype {name!r}"
        raise InputError(f"{run.path}: {what}; it has {listed or 'none yet'}")
    return fitting[0], Genotype.from_json(known[fitting[0]], str(run.path))


def file_of(run: RunDirectory, name: str) -> Place:
    """Returns the place of a genotype's file."""
    return run.path / FOLDER / f"{name}.txt"


def write_genotypes(run: RunDirectory) -> None:
    """Writes `genotypes/ID.txt` for each genotype that has none yet."""
    folder = run.files / FOLDER
    make_folder(folder)
    there = {entry.place.name for entry in entries(folder)}
    missing = [pair for pair in genotypes(run).items() if f"{pair[0]}.txt" not in there]

    def write(pair: tuple[str, Mapping[str, object]]) -> None:
        genotype = Genotype.from_json(pair[1], str(run.path))
        write_bytes(folder / f"{pair[0]}.txt", file_text(genotype).encode())

    each(write, missing, run.path)
