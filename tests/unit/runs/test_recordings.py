"""Reading recorded searches: the shapes of tables, run directories, and what is wrong with them, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import SpecError
from raydarts.runs.recordings import read
from tests import planted_records, synthetic_run

ROW = {"epoch": 1, "validation_accuracy": 0.5, "genotype": {"cell": [[["skip_connect", 0]]], "cell_concat": [1]}}


def general(**more: Any) -> dict[str, Any]:
    return {"config": {"lr": 0.1, "remedy": {"name": "none"}}, "seed": 0, "rows": [ROW], **more}


def test_robust_darts_shape(tmp_path: Path) -> None:
    runs = planted_records.runs(configurations=4, seeds=2, epochs=5)
    runs[0]["alpha_hessian_largest_eigenvalue"] = [[0, 0.25], [4, 0.5]]
    recordings = read([planted_records.write(tmp_path / "runs.json.gz", runs)])
    assert (len(recordings.runs), len(recordings.configurations), recordings.seeds) == (8, 4, (0, 1))
    first = recordings.runs[0]
    assert first.config == {"weight_decay": 0.0003, "drop_path_prob": 0.0}
    assert first.rows[0]["validation_accuracy"] == pytest.approx(runs[0]["epoch_valid_acc"][0] / 100)
    assert [row.get("eigenvalue") for row in first.rows] == [0.25, None, None, None, 0.5]
    assert first.rows[-1]["skip_share"] >= 7 / 8
    assert recordings.notes == ()


def test_general_shape(tmp_path: Path) -> None:
    runs = [general(), general(seed=1, status="stopped"), general(config={"lr": 0.2}, rows=[ROW, {**ROW, "epoch": 2}])]
    recordings = read([planted_records.write(tmp_path / "runs.json", {"runs": runs})])
    assert [run.whole for run in recordings.runs] == [False, False, True]
    assert recordings.configurations[0].config == {"lr": 0.1, "remedy": {"name": "none"}}
    assert recordings.runs[0].rows[0]["skip_share"] == 1


def test_a_run_directory(tmp_path: Path) -> None:
    recordings = read([synthetic_run.write_run(tmp_path / "run", trials=6)])
    assert len(recordings.runs) == 6
    assert "seed" not in recordings.runs[0].config
    assert [run.whole for run in recordings.runs] == [True] * 4 + [False, False]
    assert "2 of 6 trials did not run to their end" in recordings.notes[0]
    assert {"skip_share", "validation_accuracy"} <= recordings.columns


def test_missing_columns_and_epochs_are_noted(tmp_path: Path) -> None:
    runs = planted_records.runs(configurations=3, seeds=1, epochs=4)
    del runs[0]["epoch_genotype"]
    runs[1]["epoch_valid_acc"][2] = None
    for key in ("epoch_valid_acc", "epoch_genotype", "epoch_valid_loss"):
        runs[2][key] = []
    recordings = read([planted_records.write(tmp_path / "runs.json", runs)])
    assert "validation_accuracy" not in recordings.runs[1].rows[2]
    assert any("run 2 has no epoch and is left out" in note for note in recordings.notes)
    assert any("1 of 2 runs have epochs without a genotype" in note for note in recordings.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": "x"}, "run 1: seed is"),
        ({"rows": [{"epoch": 2}]}, "run 1: row 1 has epoch 2; epochs are 1, 2, 3"),
        ({"rows": 3}, "run 1: rows must be a list of objects"),
        ({"config": 3}, "run 1: config must be an object"),
        ({"status": "gone"}, "run 1: status is"),
        ({"rows": [{**ROW, "genotype": "Genotype(normal=1)"}]}, "run 1: epoch 1: "),
    ],
)
def test_a_wrong_run_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = planted_records.write(tmp_path / "runs.json", [general(), general(seed=1) | change])
    with pytest.raises(SpecError) as caught:
        read([file])
    assert words in str(caught.value)


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    first = planted_records.write(tmp_path / "a.json", [general(seed="x"), 3, {"lr": 1}])
    second = tmp_path / "b.json"
    second.write_text('[\n{"a": 1},\n}', encoding="utf-8")
    runs = planted_records.runs(configurations=2, seeds=1, epochs=3)
    runs[1]["space"] = "s4"
    runs[0]["epoch_valid_acc"][0] = 130
    third = planted_records.write(tmp_path / "c.json", runs)
    with pytest.raises(SpecError) as caught:
        read([first, second, third, tmp_path / "absent.json"])
    told = str(caught.value)
    for words in (
        f"{first}: run 0: seed is",
        f"{first}: run 1: must be an object, not 3",
        f"{first}: run 2: has neither rows nor epoch_valid_acc",
        f"{second}:3: is not JSON",
        f"{third}: run 0: epoch_valid_acc holds 130; allowed: 0 to 100",
        f"{third}: space: runs are of several: s1 (run 0), s4 (run 1)",
        "absent.json: cannot be read",
    ):
        assert words in told


def test_the_same_settings_and_seed_with_other_rows_are_refused(tmp_path: Path) -> None:
    other = general(rows=[{**ROW, "validation_accuracy": 0.7}])
    file = planted_records.write(tmp_path / "runs.json", [general(), general(), other])
    with pytest.raises(SpecError, match="has the settings and the seed"):
        read([file])
    assert len(read([planted_records.write(tmp_path / "same.json", [general(), general()])]).runs) == 1


def test_runs_without_a_seed_are_numbered(tmp_path: Path) -> None:
    runs = planted_records.runs(configurations=2, seeds=2, epochs=3)
    for each in runs:
        del each["seed"]
    assert read([planted_records.write(tmp_path / "runs.json", json.loads(json.dumps(runs)))]).seeds == (0, 1)
