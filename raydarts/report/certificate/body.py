"""Everything that a certificate holds, as JSON that follows from the files of a run alone.

Two certificates of the same files are equal: nothing in them depends on when, where or by whom they are made. Only
`made_by` may differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import cast

from raydarts import __version__
from raydarts.errors import DamagedError, InputError
from raydarts.json_types import section
from raydarts.report.certificate.checklists import checklists
from raydarts.report.certificate.cost import cost_of
from raydarts.report.certificate.facts import Facts
from raydarts.report.certificate.files import files_of
from raydarts.report.improvement import improvements
from raydarts.runs import results
from raydarts.runs.allocations import follows_from_results
from raydarts.runs.folders import read_allocation, read_promotion
from raydarts.runs.promotions import decisions_on_genotypes
from raydarts.runs.reading import Damage, parse
from raydarts.runs.snapshot import RunSnapshot
from raydarts.runs.whole import damage_of
from raydarts.storage.files import plain
from raydarts.storage.place import Place, place_of, read_bytes, write_bytes
from raydarts.study.configurations import configurations
from raydarts.study.history import Event
from raydarts.study.objectives import SearchScore
from raydarts.study.random_cells import discovered
from raydarts.study.ranking import evaluation_rows, random_ranking, ranking
from raydarts.study.results import TrialRecord
from raydarts.study.stages import EVALUATE, SEARCH, Stage

FORMAT = 1
NAME, PAGE = "certificate.json", "certificate.html"
CHECK = "raydarts report RUN --certificate --check CERTIFICATE"
MADE_BY = "made_by"
"""The one part that is not compared: which raydarts has made the certificate."""
_LARGEST = 256 << 20


def certificate(path: Place, damage: Damage, without: Sequence[Place] = ()) -> dict[str, object]:
    """Returns the certificate of the run at `path`. What is damaged is noted in `damage`, and named in it.

    `without`: files in the run's folder that are not of the run. Raises `RunError` if `path` is no run.
    """
    run = RunSnapshot.open(path, damage)
    damage.take_in(damage_of(run.path))
    facts = Facts.of(run)
    rankings = [_ranking(facts, stage) for stage in facts.stages]
    cost = cost_of(run, facts.description)
    decisions = _decisions(facts)
    body: dict[str, object] = {
        "certificate": FORMAT,
        MADE_BY: {"raydarts": __version__},
        "check": CHECK,
        "run": _run(facts),
        "spec": facts.description.get("spec"),
        "seeds": _seeds(facts),
        "cost": cost,
        "objective": facts.search_score.to_json(),
        "searches": [_search(record, facts.search_score) for record in facts.searched],
        "configurations": [each.to_json() for each in configurations(facts.searched, facts.search_score)],
        "decisions": decisions,
        "retrainings": [
            {"stage": name, **row}
            for name, records in facts.retrained.items()
            for row in evaluation_rows(records, facts.score)
        ],
        "score": facts.score.to_json(),
        "rankings": rankings,
        "improvement": [
            asdict(each)
            for each in improvements(evaluation_rows(facts.retrained.get(EVALUATE, ()), facts.score), facts.score)
        ],
        "contradictions": list(facts.contradictions),
        "damaged": [problem.replace(f"{run.path}/", "") for problem in damage.problems],
    }
    body["checklists"] = checklists(facts, body)
    body["files"] = files_of(run.path, without)
    return dict(plain(body))


def _run(facts: Facts) -> dict[str, object]:
    description = facts.description
    status = section(facts.run.read("status.json"))
    return {
        "name": description.get("name"),
        "id": description.get("id"),
        "kind": description.get("kind"),
        "stage": description.get("stage"),
        "status": results.run_status(facts.run),
        "reason": status.get("reason"),
        "question": description.get("question"),
        "command": description.get("command"),
        "versions": description.get("versions"),
        "git_commit": description.get("git_commit"),
        "machine": description.get("machine"),
        "outside": description.get("outside") or [],
        "genotypes_from": section(description.get("genotypes")).get("from"),
    }


def _seeds(facts: Facts) -> dict[str, object]:
    spec = section(facts.description.get("spec"))
    sweep = section(spec.get("sweep"))
    searches = {seed for record in facts.searched if (seed := record.search_seed) is not None}
    return {
        "sweep": sweep.get("seed"),
        "replicates": sweep.get("replicates"),
        "search": sorted(searches),
        "split": section(spec.get("data")).get("split_seed"),
        "evaluation": {
            name: sorted({seed for record in records if isinstance(seed := record.description.get("seed"), int)})
            for name, records in facts.retrained.items()
        },
    }


def _search(record: TrialRecord, score: SearchScore) -> dict[str, object]:
    return {
        "id": record.id,
        "status": record.status,
        "epochs": record.epochs,
        "configuration": record.configuration,
        "search_seed": record.search_seed,
        "choices": record.description.get("choices"),
        "figure": record.value(score),
        "order": record.order(score),
        "unhealthy": score.unhealthy(record.judged) if record.genotype is not None else None,
        "genotype_id": record.genotype_id,
        "genotype": record.genotype,
        "reason": record.result.get("reason"),
        "error": record.result.get("error"),
    }


def _ranking(facts: Facts, stage: Stage[Mapping[str, object]]) -> dict[str, object]:
    rows = evaluation_rows(facts.retrained.get(stage.name, ()), facts.score)
    return {
        "stage": stage.name,
        "from": stage.source,
        "ranking": ranking(rows, facts.score),
        "random_cells": random_ranking(rows, facts.score),
    }


def _decisions(facts: Facts) -> dict[str, object]:
    """Every decision that stopped, halted, paused or copied a trial, and who entered each stage."""
    return {
        "trials": [decision for event in facts.run.events() for decision in _of_event(event)],
        "halted": [
            {"stage": stage, "trial": record.id, "status": record.status}
            for stage, records in [(SEARCH, facts.searched), *facts.retrained.items()]
            for record in records
            if record.status in ("halted", "paused", "pending", "running", "damaged")
        ],
        "faults": results.faults(facts.run),
        "stages": [_promotion(facts, stage) for stage in facts.stages],
        "evaluation_seeds": {
            "decisions": read_allocation(facts.run),
            "follow_from_results": _seeds_follow(facts),
        },
    }


def _seeds_follow(facts: Facts) -> bool | None:
    """Whether the decisions on more evaluation seeds follow from the retrainings. None: there are none."""
    try:
        return follows_from_results(facts.run)
    except (DamagedError, KeyError, TypeError, ValueError, StopIteration):  # the files of another hand
        return None


def _of_event(event: Event) -> list[dict[str, object]]:
    made = []
    for decided in [event, *event.get("others", ())]:
        decision = decided.get("decision")
        if decision not in (None, "continue"):
            fork = section(decided.get("fork"))
            entry: dict[str, object] = {"trial": f"{decided['index']:04d}", "decision": decision}
            entry |= {"after_epoch": event.get("epoch"), "reason": event.get("reason") if decided is event else None}
            entry |= {"halted": bool(event.get("halted"))} if decided is event else {}
            made.append(entry | ({"parent": fork["parent"], "parent_epoch": fork["epoch"]} if fork else {}))
    return made


def _promotion(facts: Facts, stage: Stage[Mapping[str, object]]) -> dict[str, object]:
    """The decisions on genotypes, and whether the same follow from the results that they were made from."""
    decisions = read_promotion(facts.run, stage.name)
    return {
        "stage": stage.name,
        "from": stage.source,
        "decisions": decisions,
        "follows_from_results": None if decisions is None else _follows(facts, stage, decisions),
    }


def _follows(
    facts: Facts, stage: Stage[Mapping[str, object]], decisions: Sequence[Mapping[str, object]]
) -> bool | None:
    top_k, max_skips = stage.settings.get("top_k"), stage.settings.get("max_skips")
    if not isinstance(top_k, int | str) or not isinstance(max_skips, int | None):
        return None
    equal = stage.settings.get("confidence") is not None
    try:
        again = decisions_on_genotypes(facts.run, stage.source, top_k, max_skips, at_equal_size=equal)
    except (DamagedError, KeyError, TypeError, ValueError):  # the files of another hand
        return None
    return bool(plain(again) == plain(discovered(decisions)))


def text_of(made: Mapping[str, object]) -> bytes:
    """Returns a certificate as a file: sorted, so that equal ones have equal bytes."""
    return (json.dumps(made, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def paths_of(run: Place, out: Place | None) -> tuple[Place, Place]:
    """Returns where the JSON and the page go. `out` is the JSON's file.

    Raises `InputError` if it has another suffix.
    """
    if out is None:
        return place_of(run) / NAME, place_of(run) / PAGE
    if out.suffix != ".json":
        raise InputError(f"{out}: a certificate's name must end in .json; its page is written beside it, with .html")
    return out, out.with_name(f"{out.name.removesuffix('.json')}.html")


def write_certificate(path: Place, out: Place | None, damage: Damage) -> tuple[Place, Place]:
    """Writes the certificate of a run and its page. Returns where they are."""
    from raydarts.report.certificate.page import render  # noqa: PLC0415 - loads jinja2

    files = paths_of(path, out)
    for file in files:
        if not file.parent.is_dir() or file.is_dir():
            raise InputError(f"{file}: cannot be written: its folder must exist, and it must be a file")
    made = certificate(path, damage, without=files)
    contents = (text_of(made), render(made).encode("utf-8", "replace"))
    for file, content in zip(files, contents, strict=True):
        try:
            write_bytes(file, content)
        except OSError as error:
            raise InputError(f"{file}: cannot be written: {error.strerror or error}") from error
    return files


def read_certificate(file: Place) -> dict[str, object]:
    """Returns what a certificate's file holds. Raises `InputError` if it is none."""
    try:
        content = read_bytes(file)
    except FileNotFoundError:
        raise InputError(
            f"{file}: there is no such certificate; 'raydarts report RUN --certificate' makes one"
        ) from None
    except (DamagedError, OSError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    if len(content) > _LARGEST:
        raise InputError(f"{file}: is larger than {_LARGEST >> 20} MiB, so it is no certificate of raydarts")
    try:
        value = parse(content, str(file))
    except DamagedError as error:
        raise InputError(f"{error}; it is no certificate as raydarts writes it") from None
    if not isinstance(value, dict) or value.get("certificate") != FORMAT or not isinstance(value.get("files"), dict):
        raise InputError(
            f"{file}: is no certificate of raydarts in format {FORMAT}; 'raydarts report RUN --certificate' makes one"
        )
    if not all(isinstance(each, dict) for each in value["files"].values()):
        raise InputError(f"{file}: damaged: files must hold a section for each file")
    return cast(dict[str, object], value)
