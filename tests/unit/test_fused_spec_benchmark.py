"""benchmarks/fused_spec.py runs a spec's searches in groups and alone, and says whether they are equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import script

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = """
data: {dataset: digits, limit: 60, validation_fraction: 0.25}
search:
  grid:
    - &plain
      seed: {grid: [0, 1]}
      epochs: 3
      batch_size: 16
      space: {name: nasbench201, channels: 2, cells_per_stage: 1}
      estimator: first_order
    - {<<: *plain, regularizers: [beta_decay]}
    - {<<: *plain, relaxation: gumbel, epochs: 1}
    - {<<: *plain, selection: random, epochs: 1}
sweep: {searcher: grid}
"""


@pytest.fixture
def bench() -> Any:
    return script("benchmarks/fused_spec.py")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    return file


def test_searches_of_a_spec_are_the_same_in_groups_and_alone(
    bench: Any, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    code = bench.main([str(spec), "--epochs", "2", "--lanes", "4", "--precision", "float64", "--json", str(out)])
    said = capsys.readouterr().out
    assert code == 0, said
    whole = json.loads(out.read_text())
    assert [(row["names"], row["epochs"]) for row in whole["groups"]] == [
        ("plain x 2, beta_decay x 2", 8),
        ("random x 2", 2),
    ]
    assert all(0 <= row["apart"] < 1e-8 and row["other_cells"] == 0 for row in whole["groups"])
    assert said.count("gumbel: the relaxation gumbel leaves out other candidates") == 2
    assert whole["alone"] == pytest.approx(sum(row["alone"] for row in whole["groups"]) + whole["unfused"])


def test_searches_that_are_not_the_same_end_with_exit_code_1(
    bench: Any, spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = bench.alone

    def slightly_wrong(search: Any) -> Any:
        return [row | {"weight_loss": row["weight_loss"] + 1e-3} for row in usual(search)]

    monkeypatch.setattr(bench, "alone", slightly_wrong)
    arguments = [str(spec), "--epochs", "1", "--seeds", "0"]
    assert bench.main([*arguments, "--precision", "float64"]) == 1
    assert "e-04 " in capsys.readouterr().out
    assert bench.main(arguments) == 0, "in float32 rounding may be as large"


def test_a_row_more_or_another_cell_is_a_difference(bench: Any) -> None:
    rows = [{"epoch": 1, "train_loss": 2.0, "seconds": 1.0, "genotype": "a", "arch_weights": {"cell": [[0.5, 0.5]]}}]
    later = [rows[0] | {"seconds": 9.0}]
    other = [rows[0] | {"arch_weights": {"cell": [[0.25, 0.75]]}, "genotype": "b"}]
    assert bench.apart(rows, later) == 0
    assert bench.apart(rows, other) == 0.25
    assert bench.apart(rows, rows + rows) == float("inf")
    assert (bench.other_cells(rows, later), bench.other_cells(rows, other), bench.other_cells(rows, rows + rows)) == (
        0,
        1,
        1,
    )


def test_a_spec_with_a_problem_ends_in_its_words(bench: Any, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_text(SPEC.replace("first_order", "third_order"))
    assert bench.main([str(spec)]) == 2
    assert "third_order" in capsys.readouterr().err
