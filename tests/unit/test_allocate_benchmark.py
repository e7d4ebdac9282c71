"""`benchmarks/allocate.py` on a small record: its ways, its figures, and what it says of a file that it cannot use."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import script

allocate = script("benchmarks/allocate.py")
OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "skip_connect", "max_pool_3x3")


def record(file: Path, cells: int = 20, epochs: int = 48) -> Path:
    """Cells whose accuracy rises to the true one. Small networks rise faster."""
    draws = random.Random(3)
    rows: list[dict[str, Any]] = []
    for _ in range(cells):
        edges = [[draws.choice(OPERATIONS), number // 2 % 2] for number in range(8)]
        heavy = sum(name.startswith("sep") for name, _ in edges)
        true = 97 + draws.gauss(0, 0.2)
        curve = [true - (5 + heavy) * (1 - (epoch + 1) / epochs) for epoch in range(epochs)]
        genotype = {"normal": edges, "normal_concat": [2, 3, 4, 5], "reduce": edges, "reduce_concat": [2, 3, 4, 5]}
        rows.append({"genotype": genotype, "test_accuracy": curve})
    file.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return file


def test_every_way_is_measured_and_the_allocator_keeps_to_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = record(tmp_path / "cells.json.gz"), tmp_path / "out.json"
    words = ["allocate.py", str(file), "--json", str(out), "--sweeps", "5", "--candidates", "9", "--halves", "1"]
    monkeypatch.setattr("sys.argv", words)
    allocate.main()
    whole = json.loads(out.read_text())
    rows = {row["way"]: row for row in whole["rows"]}
    assert set(rows) == set(allocate.WAYS)
    assert (whole["short"], whole["epochs"]) == (2, 48)
    assert rows["full, 1 seed"]["share"] == [1.0, 1.0, 1.0]
    assert rows["full, 2 seeds"]["share"] == [2.0, 2.0, 2.0]
    assert rows["allocator"]["most_share"] <= 0.5
    assert all(row["regret"][0] >= 0 for row in whole["rows"])
    assert whole["verdicts"][0]["candidates"] == 9
    assert whole["halves"][0]["halves"] == 2
    assert "a regret of at most 0.06 at a share of at most 0.5" in capsys.readouterr().out


def test_without_noise_full_training_has_no_regret_and_the_correction_for_size_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy = {"sep_conv_3x3": 2.0, "sep_conv_5x5": 2.0, "dil_conv_3x3": 1.0}
    counted = lambda genotype, where: 9 + sum(heavy.get(name, 0.0) for name, _ in genotype["normal"].edges())  # noqa: E731
    monkeypatch.setattr(allocate, "parameters_of", counted)  # no network is built
    cells = allocate.read(record(tmp_path / "cells.json.gz"))
    settings = allocate.Settings(short=2, noise=0.0)
    assert not any(allocate.simulate(cells, 9, 10, settings, allocate.full(1))["regret"])
    corrected = allocate.simulate(cells, 9, 40, settings, allocate.allocator)["regret"]
    measured = allocate.simulate(cells, 9, 40, settings, allocate.measured_order)["regret"]
    assert sum(corrected) < sum(measured)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{}", "must be a list of cells"), ("[{}]", "item 0: needs test_accuracy"), ("[", "cannot be read")],
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "cells.json"
    file.write_text(content)
    with pytest.raises(SystemExit, match=words):
        allocate.read(file)
