"""Reading what a run left on disk. Nothing here writes, trains, or needs torch or Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raydarts.errors import DamagedError
from raydarts.json_types import Json, section
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.entries import FaultEntry
from raydarts.runs.folders import jobs, read_allocation, read_promotion, retrainings, stage_of
from raydarts.runs.segments import lineage
from raydarts.storage.files import plain
from raydarts.storage.place import each
from raydarts.study.configurations import configurations
from raydarts.study.front import front_of
from raydarts.study.history import name_of
from raydarts.study.objectives import score_of, search_score_of
from raydarts.study.ranking import baselines, evaluation_rows, ranking
from raydarts.study.results import ResultEntry, Row, TrialRecord, distinct_genotypes
from raydarts.study.stages import EVALUATE, stages_of


def read_trial(trial: TrialDirectory, in_use: bool = False) -> TrialRecord:
    """One trial's record. Without a result it is running while a driver holds the run, else pending, halted or paused.

    Where damage is noted, not raised: a trial whose trial.json or result.json is damaged is `damaged` and counts for
    nothing. So is one without a result whose rows are damaged. One that ended keeps its result.
    """
    result = trial.result()
    rows = trial.rows()
    description = trial.description()
    rows_whole = _rows_whole(trial, rows, result or {})
    if trial.damage is not None and (lost := untimed(trial, rows, result)):
        file = trial.files / "times.jsonl"
        trial.damage.note(file, DamagedError(f"{file}: {lost}; hours and cost are too low by these"))
    if _is_damaged(trial, "trial.json", "result.json") or (result is None and not rows_whole):
        status = "damaged"
    elif result is not None:
        status = str(result["status"])
    elif (halted := trial.halted()) is not None:
        status = "paused" if halted.get("paused") else "halted"
    else:
        status = "running" if in_use and trial.owner() is not None else "pending"
    return TrialRecord(trial.id, status, description, rows, result or {}, rows_whole)


def untimed(trial: TrialDirectory, rows: Sequence[Row], result: ResultEntry | None) -> str:
    """Words on the epochs that have a row and no time; none where all have one.

    An epoch's time is written right after its row. So only the last row of a trial that was lost, or that runs now, may
    be without a time.
    """
    damage, timed = trial.damage, {entry.get("epoch") for entry in trial.times()}
    if damage is not None and (damage.at(trial.files / "times.jsonl") or damage.at(trial.files / "metrics.jsonl")):
        return ""
    ended = (result or {}).get("status") in ("completed", "stopped")
    lost = [row["epoch"] for row in (rows if ended else rows[:-1]) if row.get("epoch") not in timed]
    if not lost:
        return ""
    named = ", ".join(map(str, lost[:10])) + (", ..." if len(lost) > 10 else "")
    return f"has no time of epoch{'s' if len(lost) > 1 else ''} {named}"


def _is_damaged(trial: TrialDirectory, *names: str) -> bool:
    damage = trial.damage
    return damage is not None and any(damage.at(trial.files / name) for name in names)


def _rows_whole(trial: TrialDirectory, rows: Sequence[Row], result: ResultEntry) -> bool:
    """Whether all rows are there that the result counts. A row is on disk before anything that counts it."""
    if _is_damaged(trial, "metrics.jsonl"):
        return False
    missing = int(result.get("epochs", 0)) - len(rows)
    if missing > 0 and trial.damage is not None:
        lacks = f"{trial.path / 'metrics.jsonl'}: lacks {missing} of the {result['epochs']} epochs that were reported"
        trial.damage.note(trial.files / "metrics.jsonl", DamagedError(f"{lacks}; the result stays as it is"))
    return missing <= 0


def trials(run: RunDirectory) -> list[TrialRecord]:
    """All search trials in the order of their indices."""
    in_use = run.in_use()
    records = each(lambda trial: read_trial(trial, in_use), run.trials(), run.path)
    if run.damage is not None:
        there = {int(record.id) for record in records}
        for index in sorted(set(range(max(there, default=0))) - there):
            place = run.trial(index).files
            run.damage.note(place, DamagedError(f"{place}: is missing, and trials after it are there"))
    return records


def evaluations(run: RunDirectory) -> list[TrialRecord]:
    return retrained(run, EVALUATE)


def retrained(run: RunDirectory, stage: str) -> list[TrialRecord]:
    """The records of a retraining stage."""
    in_use = run.in_use()
    return each(lambda trial: read_trial(trial, in_use), retrainings(run, stage), run.path)


def run_status(run: RunDirectory) -> str:
    """pending, running, interrupted, completed (single trials may have failed), or failed (all of a single run)."""
    if run.in_use():
        return "running"
    state = run.read("status.json")
    if state is not None:
        return "interrupted" if state["status"] == "running" else str(state["status"])
    everything = [read_trial(trial) for trial in jobs(run)]
    if not any(record.rows or record.result for record in everything):
        return "pending"
    statuses = {record.status for record in everything}
    if statuses & {"pending", "halted", "paused", "damaged"}:
        return "interrupted"
    return "failed" if statuses == {"failed"} else "completed"


class FaultOfTrial(FaultEntry):
    """What befell a trial of a stage from outside."""

    stage: str
    trial: str


def faults(run: RunDirectory) -> list[FaultOfTrial]:
    """What befell trials from outside (failures.jsonl), those retried too."""
    of_trials = each(lambda trial: (trial, trial.failures()), jobs(run), run.path)
    return [{"stage": stage_of(trial), "trial": trial.id, **entry} for trial, entries in of_trials for entry in entries]


def report_json(run: RunDirectory) -> dict[str, object]:
    """Everything a report shows, as one JSON-able value; what is not known is null, never NaN."""
    description = run.description()
    searched = trials(run)
    described = {record.id: record.description for record in searched}
    score, done = score_of(description), evaluations(run)
    search_score = search_score_of(description)
    evaluated = evaluation_rows(done, score)
    groups = configurations(searched, search_score)
    report = {
        "name": run.name,
        "kind": description["kind"],
        "question": description.get("question") or "",
        "status": run_status(run),
        "spec": description["spec"],
        "trials": [
            {
                "id": record.id,
                "status": record.status,
                "configuration": None if record.configuration is None else name_of(record.configuration),
                "search_seed": record.search_seed,
                "config": record.description.get("config"),
                "choices": record.description.get("choices"),
                "lineage": lineage(record.id, record.epochs, lambda name: described.get(name, {})),
                "metrics": record.metrics,
                "genotype": record.genotype,
                "genotype_id": record.genotype_id,
                "skips": record.skips,
                "epochs": record.epochs,
                "seconds": record.result.get("seconds"),
                "error": record.result.get("error"),
                "unhealthy": search_score.unhealthy(record.judged) if record.genotype is not None else None,
                "reason": record.result.get("reason"),
                "order": record.order(search_score),
            }
            for record in searched
        ],
        "configurations": [each.to_json() for each in groups],
        "front": front_of(searched, groups, search_score),
        "genotypes": distinct_genotypes(searched),
        "promotion": run.read("promotion.json"),
        "allocation": read_allocation(run),
        "evaluations": evaluated,
        "score": score.to_json(),
        "search_score": search_score.to_json(),
        "ranking": ranking(evaluated, score),
        "noise": _noise(description, EVALUATE, evaluated),
        "baselines": baselines(done),
        "faults": faults(run),
        "stages": [stage_report(run, stage.name, stage.source) for stage in stages_of(description)],
        "damaged": [] if run.damage is None else run.damage.problems,
    }
    return dict(plain(report))


def stage_report(run: RunDirectory, stage: str, source: str) -> dict[str, object]:
    """A retraining stage by itself: no mean in it is of another stage's evaluation seeds."""
    score = score_of(run.description())
    rows = evaluation_rows(retrained(run, stage), score)
    return {
        "name": stage,
        "from": source,
        "promotion": read_promotion(run, stage),
        "evaluations": rows,
        "ranking": ranking(rows, score),
        "noise": _noise(run.description(), stage, rows),
    }


def _noise(
    description: Mapping[str, object], stage: str, rows: Sequence[Mapping[str, object]]
) -> dict[str, Json] | None:
    """What the noise of evaluation seeds leaves of a stage's ranking. None: nothing is ranked, or by a table."""
    from raydarts.study.noise_words import noise_json, stage_noise  # noqa: PLC0415 - needs numpy

    score = score_of(description)
    return noise_json(stage_noise(section(description["spec"]), stage, rows, score), score)
