"""A file of a run is described twice: by the types that code reads it as, and by the record that checks it first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest

from raydarts.report.export import export_run
from raydarts.runs import entries, event_records, records
from raydarts.runs.reading import Damage
from raydarts.study import history, results
from tests.synthetic_run import write_run

PAIRS: list[tuple[Any, Any]] = [
    (entries.RunEntry, records.RunRecord),
    (entries.CandidateEntry, records.GivenCandidate),
    (entries.TimeEntry, records.Times),
    (entries.FaultEntry, records.Fault),
    (entries.HaltedEntry, records.Halted),
    (entries.OwnerEntry, records.Owner),
    (entries.SeedEntry, records.AddedSeed),
    (entries.NoiseEntry, records.SeedNoise),
    (entries.AllocationEntry, records.Allocation),
    (entries.CohortEntry, records.PlannedCohort),
    (entries.PlannedStageEntry, records.PlannedStage),
    (results.TrialEntry, records.TrialRecordFile),
    (results.MeasuredEntry, records.Measured),
    (results.ResultEntry, records.Result),
    (history.SegmentEntry, records.SegmentRecord),
    (history.ParentEntry, records.ParentRecord),
    (history.ForkEntry, event_records.ForkRecord),
    (history.OtherEntry, event_records.OnOther),
]
UNCHECKED = {"RunEntry": {"name"}, "ResultEntry": {"traceback"}}
"""Keys that are shown or handed on as they are."""


@pytest.mark.parametrize(("entry", "record"), PAIRS, ids=lambda kind: kind.__name__)
def test_what_is_read_is_what_is_checked(entry: Any, record: Any) -> None:
    keys = get_type_hints(entry, include_extras=True)
    assert set(keys) - UNCHECKED.get(entry.__name__, set()) == set(record.model_fields)
    if entry.__total__ and entry.__module__ == entries.__name__:
        sure = {key for key, kind in keys.items() if get_origin(kind) is not NotRequired}
        assert sure == {name for name, field in record.model_fields.items() if field.is_required()}


def test_a_trial_whose_parent_is_no_trial_is_named_and_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", trials=3, top_k=1, epochs=2)
    file = run / "trials" / "0000" / "trial.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "parent": "0001"}))
    damage = Damage()
    assert export_run(run, tmp_path / "table.csv", damage=damage) > 0
    (problem,) = damage.problems
    assert "trials/0000/trial.json: damaged: parent: " in problem
