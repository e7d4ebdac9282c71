"""Every ranking says how well it can rank: text, JSON, HTML and W&B's words, for each stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from raydarts.report import figures_cluster
from raydarts.report.gather import gather
from raydarts.report.html import ranking
from raydarts.report.tables import report_of
from raydarts.trackers.wandb import report_words
from tests.commands import run_here
from tests.synthetic_run import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a rung of one seed each before its ranking of three seeds."""
    path = write_run(tmp_path_factory.mktemp("runs") / "staged", trials=14, top_k=5)
    file = path / "run.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["spec"]["rungs"] = [{"top_k": 5}]
    file.write_text(json.dumps(whole), encoding="utf-8")
    (path / "stages").mkdir()
    shutil.copytree(path / "evaluations", path / "stages" / "rung-1")
    for folder in (path / "stages" / "rung-1").glob("*-seed[12]"):
        shutil.rmtree(folder)
    return path


def test_the_commands_text_and_json_say_it_for_each_stage(run: Path) -> None:
    text = " ".join(run_here("report", run).out.split())
    assert "Attainable: this ranking's Kendall's tau with the true ranking is about 0." in text
    assert "First place: the first is the best of the 5 with probability" in text
    assert "How far to trust this order: every genotype was retrained with one evaluation seed" in text
    report = json.loads(run_here("report", run, "--json").out)
    noise = report["noise"]
    assert noise["known"]
    assert noise["genotypes"] == [row["genotype"] for row in report["ranking"]]
    assert noise["seeds"] == [3] * 5
    assert -1 <= noise["attainable"]["low"] <= noise["attainable"]["value"] <= noise["attainable"]["high"] <= 1
    stages = {stage["name"]: stage["noise"] for stage in report["stages"]}
    assert stages["evaluate"] == noise
    assert not stages["rung-1"]["known"]
    assert "evaluate.seeds" in stages["rung-1"]["why"]


def test_the_html_and_wandb_say_the_same_words(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_cluster, "_DRAWN", 1)  # a drawing takes a second
    assert run_here("report", run, "--html", "--out", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ").replace("&#39;", "'")
    words = report_of(run)["noise"]["words"]
    assert words
    assert all(line in page for line in words)
    assert "every genotype was retrained with one evaluation seed" in page
    known = gather(run)
    assert "places it may truly have" in ranking(known).headers
    assert "places it may truly have" not in ranking(known.stages["rung-1"]).headers
    assert "Attainable: this ranking's Kendall's tau" in report_words.ranking(known)


def test_a_ranking_by_a_table_and_failed_retrainings_hold_no_noise(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "table"
    shutil.copytree(run, path)
    for folder in sorted((path / "evaluations").iterdir())[:3]:
        file = folder / "result.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"status": "failed"}), "utf-8")
    assert sum(report_of(path)["noise"]["seeds"]) == 12
    file = path / "run.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["spec"]["evaluate"]["table"] = {"file": "cells.csv"}
    file.write_text(json.dumps(whole), encoding="utf-8")
    assert report_of(path)["noise"] is None
    assert gather(path).noise is None
