"""Every command that reads a run knows random cells, and takes none for an answer."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from raydarts.genotypes.genotype import describe_genotype
from raydarts.report.findings import findings
from raydarts.report.gather import gather
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import read_promotion, write_promotion
from raydarts.study.random_cells import mark, random_cell
from raydarts.trackers.wandb import names
from tests.commands import run_here
from tests.synthetic_run import genotype, write_run

BEST = 0.99
"""What random cells reach here: more than every discovered genotype."""


def add_random_cells(path: Path, count: int = 2) -> list[str]:
    """Writes retrainings of random cells with seeds 0 to 2, as `evaluate` would. Returns their ids."""
    run, rng = RunDirectory.open(path), random.Random(7)
    drawn = [genotype(1, rng) for _ in range(count)]
    ids = [str(describe_genotype(each)["genotype_id"]) for each in drawn]
    cells = [
        random_cell(name, each, {"normal": 1, "reduce": 1}, number, count, count, 0)
        for number, (name, each) in enumerate(zip(ids, drawn, strict=True), start=1)
    ]
    for cell in cells:
        for seed in range(3):
            trial, figure = run.evaluation(str(cell["id"]), seed), BEST + 0.001 * seed
            what = {"genotype_id": cell["id"], "genotype": cell["genotype"], "seed": seed}
            trial.create({"kind": "evaluation", **what, "trials": [], **mark(cell)})
            row = {"epoch": 1, "validation_accuracy": figure}
            trial.append_row(row)
            trial.append_time({"epoch": 1, "start": 1.76e9, "end": 1.76e9 + 50, "host": "n", "pid": 1})
            result = {"validation_accuracy": figure, "test_accuracy": figure - 0.01, "parameters": 10}
            trial.write_result({"status": "completed", "epochs": 1, "metrics": row, "seconds": 50.0, "result": result})
    write_promotion(run, "evaluate", [*(read_promotion(run, "evaluate") or []), *cells])
    return ids


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("plain") / "run", trials=12, top_k=3, epochs=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    path = write_run(tmp_path_factory.mktemp("cells") / "run", trials=12, top_k=3, epochs=2)
    return path, add_random_cells(path)


def read(*words: object) -> Any:
    done = run_here(*words)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_ranking_and_the_findings_are_those_without_them(run: tuple[Path, list[str]], plain: Path) -> None:
    path, cells = run
    with_cells, without = (read("report", each, "--json") for each in (path, plain))
    assert with_cells["ranking"] == without["ranking"]
    assert without["random_cells"] is None
    assert [row["genotype"] for row in with_cells["random_cells"]["ranking"]] == sorted(cells)
    assert all(row["random_cell"] for row in with_cells["random_cells"]["ranking"])
    assert gather(path).ranked == gather(plain).ranked
    assert findings(gather(path), 99) == findings(gather(plain), 99)


def test_text_and_page_say_that_random_cells_are_better(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, cells = run
    done = run_here("report", path)
    first = read("report", path, "--json")["random_cells"]["improvement"][0]
    assert first["difference"] < 0
    assert first["high"] < 0
    shown = f"{100 * first['difference']:.2f} percentage points, relative {100 * first['relative']:.2f} %"
    assert run_here("report", path, "--html", "--out", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text().replace("\u00a0", " ")
    for text in (" ".join(done.out.split()), page):
        assert shown in text
        assert "not told from noise" not in text.split("Improvement over random cells", 1)[1].split(".", 3)[0]
        assert all(cell in text for cell in cells)
    assert "They are not in the ranking" in page
    assert "Retrainings of random cells" in page


def test_export_compare_and_status(run: tuple[Path, list[str]], plain: Path, tmp_path: Path) -> None:
    path, cells = run
    assert run_here("export", path, "--to", tmp_path / "t.csv").code == 0
    with (tmp_path / "t.csv").open() as file:
        marked = [(row["stage"], row["genotype_id"]) for row in csv.DictReader(file) if row["random_cell"] == "True"]
    assert marked == [("evaluation", cell) for cell in sorted(cells) for _ in range(3)]
    assert run_here("export", path, "--to", tmp_path / "t.parquet", "--epochs").code == 0
    compared = read("compare", plain, path, "--json")
    assert [len(each["improvement"]) for each in compared["runs"]] == [0, 4]
    assert compared["runs"][0]["best"] == compared["runs"][1]["best"]
    assert "best genotype against random cells" in run_here("compare", plain, path).out
    counts = [read("status", each, "--json")["evaluations"]["completed"] for each in (plain, path)]
    assert counts[1] == counts[0] + 6


def test_wandb_names_and_report(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, cells = run
    trial = RunDirectory.open(path).evaluation(cells[0], 0)
    assert names.title(trial) == f"evaluation {cells[0]}-seed0 (random cell)"
    config = names.evaluation_config(trial.description(), "validation_accuracy", None)  # type: ignore[arg-type]
    assert config["random_cell"] is True
    pytest.importorskip("wandb_workspaces")
    done = run_here("wandb", "report", path, "--dry-run", "--out", tmp_path / "spec.json")
    assert done.code == 0, done.err
    assert "Improvement over random cells" in (tmp_path / "spec.json").read_text()
