"""A certificate as one HTML page that needs neither network nor script."""

from __future__ import annotations

import json
from collections.abc import Mapping

from raydarts.json_types import items, section
from raydarts.report.html import Table, command, environment
from raydarts.report.improvement import from_json, sentences
from raydarts.report.wording import number
from raydarts.study.objectives import Score

_LONGEST = 2000


def render(made: Mapping[str, object]) -> str:
    """Returns the page. The template escapes every text of the run."""
    run, score = section(made["run"]), Score.from_json(section(made["score"]))
    return (
        environment()
        .get_template("certificate.html.j2")
        .render(
            made=made,
            run=run,
            command=command(list(map(str, items(run.get("command"))))),
            versions=[
                (str(name), str(value or "not installed")) for name, value in section(run.get("versions")).items()
            ],
            machine=[(str(name), _text(value)) for name, value in section(run.get("machine")).items()],
            improvement=sentences([from_json(section(each)) for each in items(made["improvement"])], score),
            rankings=[_ranking(section(each)) for each in items(made["rankings"])],
            checklists=[(section(each)["source"], _checklist(section(each))) for each in items(made["checklists"])],
            cost=_table(section(made["cost"])["stages"], ["stage", "jobs", "epochs", "epochs_run", *_HOURS]),
            totals=[
                (name, _text(section(made["cost"]).get(name))) for name in (*_HOURS, "wall_hours", "limits", "hosts")
            ],
            searches=_table(made["searches"], _SEARCH),
            retrainings=_table(made["retrainings"], [*_RETRAINING, score.metric, score.test]),
            trials=_table(section(made["decisions"])["trials"], _DECISION),
            promotions=[_promotion(section(each)) for each in items(section(made["decisions"])["stages"])],
            unfinished=_table(section(made["decisions"])["halted"], ["stage", "trial", "status"]),
            faults=_table(
                section(made["decisions"])["faults"], ["stage", "trial", "attempt", "what", "epochs", "message"]
            ),
            seeds=[(str(name), _text(value)) for name, value in section(made["seeds"]).items()],
            spec=json.dumps(made["spec"], indent=2, sort_keys=True),
            files=Table(
                ["file", "bytes", "SHA-256"],
                [[path, _text(_of(each, "size")), _digest(each)] for path, each in section(made["files"]).items()],
            ),
        )
    )


_HOURS = ("process_hours", "gpu_hours", "cpu_hours")
_SEARCH = ["id", "status", "epochs", "configuration", "search_seed", "choices", "figure", "order", "unhealthy"]
_SEARCH += ["genotype_id", "reason", "error"]
_RETRAINING = ["stage", "genotype", "random_cell", "seed", "status", "epochs", "error"]
_DECISION = ["trial", "decision", "after_epoch", "reason", "halted", "parent", "parent_epoch"]
_RANKED = ["genotype", "validation_mean", "validation_std", "test_mean", "test_std", "n"]


def _of(entry: object, key: str) -> object:
    return section(entry).get(key)


def _digest(entry: object) -> str:
    instead = _of(entry, "instead")
    return f"none: it is {instead}" if instead is not None else str(_of(entry, "sha256") or "none: it is too large")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = number(value, 10) if isinstance(value, int | float | str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _table(rows: object, columns: list[str]) -> Table:
    """Returns the columns that some row has."""
    listed = [section(row) for row in items(rows)]
    kept = [name for name in columns if any(row.get(name) is not None for row in listed)]
    headers = [name.replace("_", " ") for name in kept]
    return Table(headers, [[_text(row.get(name)) for name in kept] for row in listed])


def _ranking(stage: Mapping[str, object]) -> tuple[str, Table, Table]:
    rows = [{"rank": place, **section(row)} for place, row in enumerate(items(stage["ranking"]), start=1)]
    return str(stage["stage"]), _table(rows, ["rank", *_RANKED]), _table(stage["random_cells"], _RANKED)


def _checklist(listed: Mapping[str, object]) -> Table:
    return _table(listed["items"], ["number", "question", "answer", "fact"])


def _promotion(stage: Mapping[str, object]) -> tuple[str, str, Table]:
    follows = {True: "yes", False: "NO", None: "not known"}[
        known if isinstance(known := stage["follows_from_results"], bool) else None
    ]
    return str(stage["stage"]), follows, _table(stage["decisions"], ["id", "promoted", "random_cell", "reason"])
