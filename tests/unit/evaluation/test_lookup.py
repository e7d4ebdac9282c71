"""Accuracies out of a table: read right, and every way in which a table can be wrong is named."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from raydarts.config.spec import EvaluateSettings
from raydarts.errors import DataError, TrialError
from raydarts.evaluation.lookup import Lookup, check_table, read_table
from raydarts.evaluation.settings import TableSettings
from raydarts.spaces import Genotype

ONE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
OTHER = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
HEADER = "cellstr,val,test\n"


def table(path: Path, text: str | bytes = f"{HEADER}{ONE},71.5,93.25\n{OTHER},10,\n", **more: Any) -> TableSettings:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return TableSettings(file=str(path), validation="val", test="test", **more)


def test_a_cell_is_found_whatever_the_order_of_its_edges(tmp_path: Path) -> None:
    job = Lookup(table(tmp_path / "t.csv"), Genotype.from_json(ONE))
    row = job.run_epoch()
    assert job.finished
    assert row["validation_accuracy"] == 0.715
    assert "test_accuracy" not in row  # told at the end alone
    result = job.result()
    assert result["test_accuracy"] == 0.9325
    assert result["table"] == {"file": str(tmp_path / "t.csv"), "validation": "val", "test": "test"}
    shuffled = "|nor_conv_3x3~0|+|skip_connect~1|none~0|+|nor_conv_3x3~2|avg_pool_3x3~0|nor_conv_1x1~1|"
    assert Lookup(job.settings, Genotype.from_json(shuffled)).run_epoch()["validation_accuracy"] == 0.715
    assert Lookup(job.settings, Genotype.from_json(OTHER)).run_epoch()["validation_accuracy"] == 0.1


def test_compressed_tables_and_fractions(tmp_path: Path) -> None:
    packed = gzip.compress(f"{HEADER}{ONE},0.5,0.25\n".encode())
    settings = table(tmp_path / "t.csv.gz", packed, unit="fraction")
    assert list(read_table(settings).values()) == [(0.5, 0.25)]


def test_a_cell_that_is_not_there_fails_the_trial(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", f"{HEADER}{ONE},1,2\n")
    with pytest.raises(TrialError, match=r"t\.csv: has no row"):
        Lookup(settings, Genotype.from_json(OTHER)).run_epoch()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "no column cellstr, val, test"),
        ("t.csv", b"cellstr,val\n", r"no column test \(it has cellstr, val\)"),
        ("t.csv", b"\xff\xfe\x00", "cannot be read"),
        ("t.csv.gz", b"cellstr,val,test\n", "cannot be read"),
        ("t.csv.gz", gzip.compress(HEADER.encode() * 999, mtime=0)[:30], "cannot be read"),
    ],
)
def test_invalid_tables_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        check_table(table(tmp_path / name, content))


def test_an_absent_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        check_table(TableSettings(file=str(tmp_path / "none.csv"), validation="a", test="b"))


@pytest.mark.parametrize(
    ("row", "message"),
    [("nonsense,1,2", "2: .*no architecture"), (f"{ONE},x,2", "2: val is 'x'"), (f"{ONE},1,101", "2: test is '101'"),
     (f"{ONE},nan,2", "2: val is 'nan'")],
)  # fmt: skip
def test_a_bad_row_is_named_with_its_line(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv:" + message):
        read_table(table(tmp_path / "t.csv", f"{HEADER}{row}\n"))


@pytest.mark.parametrize(
    ("plain", "message"),
    [({"seeds": [0, 1]}, r"seeds: \[0\]"), ({"seeds": [0], "training": {"epochs": 3}}, "exclude each other")],
)
def test_a_table_goes_with_one_seed_and_no_training(plain: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateSettings.model_validate({"table": {"file": "t", "validation": "a", "test": "b"}, **plain})
