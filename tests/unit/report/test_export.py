"""Export, comparison and watching: every result once, typed, and what differs between two runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from rich.console import Console

from raydarts.errors import InputError
from raydarts.report.compare import compare_runs, comparison_table
from raydarts.report.export import export_run
from raydarts.report.watch import follow
from raydarts.runs.directory import RunDirectory
from raydarts.storage.files import read_json, write_json
from tests.synthetic_run import write_run

XI = "choice.search.estimator[finite_difference].xi"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "one", trials=10, top_k=2)


def test_csv_and_parquet_hold_every_search_and_retraining(path: Path, tmp_path: Path) -> None:
    assert export_run(path, tmp_path / "all.csv") == 10 + 2 * 3
    assert export_run(path, tmp_path / "all.parquet") == 16
    with (tmp_path / "all.csv").open() as file:
        texts = list(csv.DictReader(file))
    typed = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["id"] for row in texts] == [row["id"] for row in typed]
    searched, retrained = typed[0], typed[-1]
    assert (searched["stage"], searched["search_seed"], searched["evaluation_seed"]) == ("search", 0, None)
    assert (retrained["stage"], retrained["search_seed"]) == ("evaluation", None)
    assert isinstance(retrained["metric.test_accuracy"], float)
    assert isinstance(searched["skips.normal"], int)
    assert {type(row[XI]) for row in typed} <= {str, type(None)}  # 0.01 and "lr" in one column
    assert float(texts[-1]["metric.validation_accuracy"]) == retrained["metric.validation_accuracy"]
    assert "diverged" in typed[9]["error"]


def test_epochs_option_writes_one_row_for_each_epoch(path: Path, tmp_path: Path) -> None:
    assert export_run(path, tmp_path / "epochs.csv", epochs=True) == 10 * 6 + 6 * 3
    text = (tmp_path / "epochs.csv").read_text()
    assert "arch_weights" not in text
    assert "genotype," not in text.splitlines()[0]


def test_other_formats_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        export_run(path, tmp_path / "all.xlsx")
    with pytest.raises(InputError, match="cannot be written"):
        export_run(path, tmp_path / "absent" / "all.csv")


def shifted(path: Path, copy: Path, by: float) -> Path:
    """The same run with every supernet accuracy higher, and another spec."""
    shutil.copytree(path, copy)
    for trial in RunDirectory.open(copy).trials():
        rows = [{**row, "validation_accuracy": row["validation_accuracy"] + by} for row in trial.rows()]
        (trial.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    description = read_json(copy / "run.json")
    description["spec"]["search"]["epochs"] = 7
    write_json(copy / "run.json", description)
    return copy


def test_a_comparison_pairs_equal_searches_and_names_what_was_changed(path: Path, tmp_path: Path) -> None:
    other = shifted(path, tmp_path / "two", 0.02)
    found = compare_runs(path, other)
    assert found["spec"] == [{"key": "search.epochs", "first": 6, "second": 7}]
    assert found["versions"] == []
    assert found["warnings"] == []
    assert found["paired"]["pairs"] == 8  # one failed, one was stopped
    assert found["paired"]["supernet"]["value"] == pytest.approx(0.02)
    assert found["paired"]["skips"]["value"] == 0
    assert len(found["genotypes"]) == 2
    console = Console(file=io.StringIO(), width=200)
    console.print(comparison_table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "search.epochs" in text
    assert "the best of 2" in text


def test_comparison_warns_of_different_data(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "two"
    shutil.copytree(path, other)
    description: dict[str, Any] = read_json(other / "run.json")
    description["spec"]["data"] = {"dataset": "cifar10"}
    write_json(other / "run.json", description)
    assert "do not measure the same" in compare_runs(path, other)["warnings"][0]


def test_watching_ends_with_the_run_and_prints_changes_alone(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "watched"
    shutil.copytree(path, copy)
    result = copy / "trials" / "0003" / "result.json"
    later = result.read_bytes()
    result.unlink()
    (copy / "status.json").unlink()
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            result.write_bytes(later)
            write_json(copy / "status.json", {"status": "completed"})

    console = Console(file=io.StringIO(), width=120)
    with RunDirectory.open(copy).locked():
        follow(copy, console, 0.5, lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    assert "running" in console.file.getvalue()  # type: ignore[attr-defined]
    console = Console(file=io.StringIO(), width=120)
    write_json(copy / "status.json", {"status": "pending"})
    follow(copy, console, 0.5, sleep)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert looks == [0.5] * 3
    assert text.count("watched: ") == 2
