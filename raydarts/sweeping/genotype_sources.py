"""Genotypes for one stage that runs alone: out of another run, or from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from raydarts.config.loader import LoadedSpec
from raydarts.config.plan import check_stage
from raydarts.errors import InputError, RunError
from raydarts.genotypes.source import NamedGenotype, RunGenotype
from raydarts.runs.directory import RunDirectory
from raydarts.runs.entries import CandidateEntry, GivenEntry
from raydarts.runs.folders import read_promotion
from raydarts.runs.rehearsal import refuse
from raydarts.runs.snapshot import RunSnapshot
from raydarts.runs.trust import Ask, admit_genotype, never
from raydarts.runs.winner import rankings, search_order
from raydarts.spaces import Genotype
from raydarts.spaces.base import of_spaces, unknown_primitive
from raydarts.storage.place import Place
from raydarts.study.random_cells import discovered
from raydarts.study.results import distinct_genotypes
from raydarts.study.stages import SEARCH


def genotypes_for(
    loaded: LoadedSpec, stage: str | None, sources: Sequence[Place | NamedGenotype | RunGenotype], ask: Ask = never
) -> GivenEntry | None:
    """What `--stage` and `--genotypes` ask for, or None: all stages, or the search alone. Raises `InputError`.

    `ask`: whether to run code that a genotype names and the spec does not.
    """
    if stage is None:
        if sources:
            raise InputError("--genotypes are for one stage: name it with --stage, for example --stage evaluate")
        return None
    check_stage(loaded, stage)
    if stage == SEARCH:
        if sources:
            raise InputError("--stage search finds its own genotypes: leave --genotypes out, or name another --stage")
        return None
    if not sources:
        raise InputError(f"--stage {stage} needs genotypes: give --genotypes RUN, or a genotype's file")
    return read_genotypes(loaded, sources, ask)


def read_genotypes(
    loaded: LoadedSpec, sources: Sequence[Place | NamedGenotype | RunGenotype], ask: Ask = never
) -> GivenEntry:
    """What run.json keeps: `from`, a line for each source, and `candidates`, each distinct genotype, best first.

    Of a run: the order of its last stage that ranked any (evaluate or a rung, else the search by the run's own
    metric). Of several sources: in the order given. Raises `InputError` where a source has none of the spec's spaces.
    """
    spaces, named = loaded.spaces(), set(loaded.outside_names())
    origins: list[dict[str, object]] = []
    candidates: dict[str, CandidateEntry] = {}
    for source in sources:
        origin, located = (
            _of_file(source)
            if isinstance(source, NamedGenotype | RunGenotype) or not source.is_dir()
            else _of_run(source)
        )
        fitting = [(fits, place) for genotype, place in located if (fits := of_spaces(genotype, spaces)) is not None]
        if not fitting:
            for genotype, _ in located:
                if wrong := unknown_primitive(genotype, str(source)):
                    raise InputError(wrong)
            what = f"none of its {len(located)} genotypes is" if located else "it has no genotype yet, so none is"
            raise InputError(
                f"{source}: {what} of this spec's space ({', '.join(spaces)}); name the genotypes' own space under "
                "search.space, or give another --genotypes"
            )
        origins.append({"source": str(source), **origin, "genotypes": len(fitting)})
        admit_genotype(set().union(*(each.outside_names() for each, _ in fitting)) - named, str(source), ask)
        for genotype, place in fitting:
            candidate: CandidateEntry = {
                "id": genotype.id,
                "genotype": genotype.to_json(),
                "trials": [],
                "skips": genotype.skips(),
                "origin": place,
            }
            candidates.setdefault(genotype.id, candidate)
    return {"from": origins, "candidates": list(candidates.values())}


Located = list[tuple[Genotype, str]]
"""Genotypes, best first, each with where it was found."""


def _of_file(path: Place | NamedGenotype | RunGenotype) -> tuple[dict[str, object], Located]:
    if not path.exists():
        raise InputError(f"{path}: there is no such file or run; --genotypes takes a genotype's file or a run's")
    if not isinstance(path, Path | NamedGenotype | RunGenotype):
        raise InputError(f"{path}: a genotype's file must lie on this machine; a run may lie in an object store")
    return {"kind": "file"}, [(Genotype.from_file(path), str(path))]


def _of_run(path: Place) -> tuple[dict[str, object], Located]:
    run = RunSnapshot.open(path)
    refuse(run, "give a run of the real sweep, or a genotype's file")
    description = run.description()
    for stage, ordered in _ranked(run):
        if ordered:
            located = [
                (Genotype.from_json(genotype, str(run.path)), f"{run.name}: number {rank} in {stage}")
                for rank, genotype in enumerate(ordered, start=1)
            ]
            return {"kind": "run", "run": description.get("id"), "name": run.name, "stage": stage}, located
    raise RunError(f"{path}: this run has no genotype yet; wait for its first search to end, or give another")


def _ranked(run: RunDirectory) -> Iterator[tuple[str, list[object]]]:
    """Each stage's genotypes, best first; the last stage first. A stage that ranked none has those it was to train."""
    for stage, ranked in rankings(run):
        yield stage, [genotype for _, genotype in ranked]
        if decisions := read_promotion(run, stage) or []:
            yield (
                f"the promotion to {stage}",
                [each["genotype"] for each in discovered(decisions) if each["promoted"]],
            )
    yield SEARCH, [entry["genotype"] for entry in distinct_genotypes(search_order(run))]
