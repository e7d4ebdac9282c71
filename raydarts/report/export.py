"""All results of a run as one flat table, CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from raydarts.errors import InputError
from raydarts.runs import results
from raydarts.runs.directory import RunDirectory
from raydarts.runs.reading import Damage
from raydarts.runs.segments import segments_of
from raydarts.runs.snapshot import RunSnapshot
from raydarts.storage.place import Place
from raydarts.study.objectives import SearchScore, search_score_of
from raydarts.study.random_cells import is_random
from raydarts.study.results import NOT_SCALAR, TrialRecord
from raydarts.study.stages import EVALUATE, stages_of

FORMATS = (".csv", ".parquet")


def export_run(path: Place, to: Path, *, epochs: bool = False, damage: Damage | None = None) -> int:
    """Writes one row for each search trial and retraining (with `epochs`, for each of their epochs). Returns the number
    of rows.

    Damaged files are noted in `damage` and left out. Without `damage` they raise. Raises `RunError` if `path` is no
    run, `InputError` if `to` is no .csv or .parquet or cannot be written.
    """
    if to.suffix.lower() not in FORMATS:
        raise InputError(f"{to}: the file's name must end in .csv or .parquet")
    rows = table(RunSnapshot.open(path, damage), epochs)
    try:
        if to.suffix.lower() == ".csv":
            _write_csv(rows, to)
        else:
            _write_parquet(rows, to)
    except OSError as error:
        raise InputError(f"{to}: cannot be written: {error.strerror or error}") from error
    return len(rows)


def table(run: RunDirectory, epochs: bool = False) -> list[dict[str, object]]:
    """Returns the rows.

    - `stage`: search, evaluation, or another stage's name.
    - `configuration`: its number in a run with replicates. `search_seed`: its replicate.
    - `choice.*`: the swept settings. A trial that went on as a copy of another has several: those of the epoch, or
      without `epochs` the last ones. `forked_from` is the other trial.
    - `unhealthy`: of a search, what is wrong with its genotype. `reason`: why a rule of the sweep stopped it.
    - `random_cell`: whether a retraining is of a random cell. Null of a search.
    - `metric.*`: what was measured, accuracies in [0, 1]. What an evaluation measured beside its network is
      `metric.baseline.NAME.PART`.
    """
    rows = []
    score = search_score_of(run.description())
    others = [stage.name for stage in stages_of(run.description()) if stage.name != EVALUATE]
    stages = [("search", results.trials(run)), ("evaluation", results.evaluations(run))]
    stages += [(name, results.retrained(run, name)) for name in others]
    for stage, records in stages:
        for record in records:
            if epochs:
                rows += [
                    {**_head(run.name, stage, record, row), **_measured(row), **_health(stage, row, score)}
                    for row in record.rows
                ]
            else:
                rows.append(
                    {**_head(run.name, stage, record), **_health(stage, record.judged, score), **_ended(record)}
                )
    return rows


def _head(name: str, stage: str, record: TrialRecord, row: Mapping[str, object] | None = None) -> dict[str, object]:
    """What a trial is. A trial that was forked has the settings of its last segment, or of the one that `row` is of."""
    description, segments = record.description, segments_of(record.description)
    number = -1 if row is None else min(int(str(row.get("segment") or 0)), len(segments) - 1)
    choices, parent = segments[number].choices, segments[number].parent
    searching = stage == "search"
    return {
        "run": name,
        "stage": stage,
        "id": record.id,
        "status": record.status,
        "configuration": record.configuration,
        "search_seed": record.search_seed if searching else None,
        "evaluation_seed": None if searching else description.get("seed"),
        "random_cell": None if searching else is_random(description),
        "genotype_id": record.genotype_id if searching else description.get("genotype_id"),
        **({} if parent is None else {"forked_from": f"{parent.trial} after epoch {parent.epoch}"}),
        **{f"choice.{name}": value for name, value in choices.items()},
    }


def _health(stage: str, row: Mapping[str, object], score: SearchScore) -> dict[str, object]:
    """Returns the bars that a search's genotype does not keep. Null where the row does not say it."""
    if stage != "search":
        return {}
    judged = any(bar.known(row) for bar in score.health)
    return {"unhealthy": "; ".join(score.unhealthy(row)) if judged else None}


def _measured(row: Mapping[str, object]) -> dict[str, object]:
    return {f"metric.{key}": value for key, value in row.items() if key not in NOT_SCALAR and _flat(value)}


def _ended(record: TrialRecord) -> dict[str, object]:
    outcome = record.result.get("result") or {}
    known = {key: value for key, value in outcome.items() if key not in ("genotype_id", "skips")}
    return {
        "epochs": record.epochs,
        "seconds": record.result.get("seconds"),
        **{f"skips.{cell}": count for cell, count in record.skips.items()},
        **_measured({**record.metrics, **known, **_baselines(outcome.get("baselines") or {})}),
        "reason": record.result.get("reason"),
        "error": record.result.get("error"),
    }


def _baselines(baselines: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    return {f"baseline.{name}.{part}": value for name, parts in baselines.items() for part, value in parts.items()}


def _flat(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    return list({name: None for row in rows for name in row})


def _write_csv(rows: Sequence[Mapping[str, object]], to: Path) -> None:
    with to.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(rows: Sequence[Mapping[str, object]], to: Path) -> None:
    import pyarrow  # noqa: PLC0415 - large, and needed for this alone
    from pyarrow import parquet  # noqa: PLC0415

    columns = {name: _one_type([row.get(name) for row in rows]) for name in _columns(rows)}
    parquet.write_table(pyarrow.table(columns), to)


def _one_type(values: list[object]) -> list[object]:
    """Gives a Parquet column one type. Numbers beside text become text, whole numbers beside others floats."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    wanted: type = float if kinds == {int, float} else str
    return [None if value is None else wanted(value) for value in values]
