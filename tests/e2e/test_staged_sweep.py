"""sweeps/stages-quick.yaml at a tiny scale, as a user runs it: every command knows its stages; a stage runs alone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from raydarts.cli import app
from raydarts.config.loader import load_plain
from raydarts.errors import InputError
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import jobs, stage_of
from tests.here import sweeps_run_here

SPEC = Path(__file__).parents[2] / "sweeps" / "stages-quick.yaml"
TINY = {
    "data.limit": 100,
    "search.seed": "{grid: [0, 1, 2]}",
    "search.regularizers": "[]",
    "search.epochs": 1,
    "search.space": "{name: darts-cnn, channels: 2, layers: 3, nodes: 1}",
    "evaluate.resources.cpus": 2,
    "sweep.max_concurrent": 1,
    "rungs.0.training.epochs": 1,
    "rungs.0.top_k": 3,
    "rungs.1.training.epochs": 2,
    "rungs.1.top_k": 2,
    "rungs.1.seeds": "[4]",
    "evaluate.training.network": "{channels: 2, layers: 3, auxiliary_weight: 0}",
    "evaluate.training.epochs": 3,
    "evaluate.seeds": "[0, 1]",
    "evaluate.top_k": 1,
    "evaluate.random_cells": 2,
    "transfer.0.training.epochs": 1,
    "transfer.0.training.network": "{channels: 2, layers: 3, auxiliary_weight: 0}",
    "transfer.0.data.limit": 80,
}
STAGES = ["rung-1", "rung-2", "evaluate", "transfer-few-images"]


def raydarts(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def sets(**changed: object) -> list[str]:
    return [word for key, value in {**TINY, **changed}.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module", autouse=True)
def local_sweeps() -> Iterator[None]:
    """The sweeps of this file train in this process."""
    with sweeps_run_here():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    storage = tmp_path_factory.mktemp("stages")
    done = raydarts("sweep", SPEC, "--storage", storage, "--name", "whole", *sets())
    assert done.exit_code == 0, done.output
    for word in ("epochs at most: search 3, rung-1 3, rung-2 4", "budget: 1 CPU-hours, 2 wall hours", "unknown until"):
        assert word in " ".join(done.output.split())
    return RunDirectory.open(storage / "whole")


def test_every_stage_trained_what_it_says_on_the_data_it_says(run: RunDirectory) -> None:
    report = json.loads(raydarts("report", run.path, "--json").stdout)
    assert [stage["name"] for stage in report["stages"]] == STAGES
    assert [stage["from"] for stage in report["stages"]] == ["search", "rung-1", "rung-2", "evaluate"]
    epochs = {stage["name"]: {row["epochs"] for row in stage["evaluations"]} for stage in report["stages"]}
    assert epochs == {"rung-1": {1}, "rung-2": {2}, "evaluate": {3}, "transfer-few-images": {1}}
    for stage in report["stages"]:
        promoted = {each["id"] for each in stage["promotion"] if each["promoted"]}
        assert {row["genotype"] for row in stage["evaluations"]} == promoted
        assert sum(row["n"] for row in stage["ranking"]) == sum(not row["random_cell"] for row in stage["evaluations"])
    assert report["ranking"] == report["stages"][2]["ranking"]
    assert report["ranking"][0]["n"] == 2
    spec = load_plain(run.description()["spec"], "run.json")
    assert [stage.settings.resources.cpus for stage in spec.stages.chain()] == [2, 2, 2, 2]
    rung = spec.stages.rungs[0].training
    assert (rung.epochs, rung.lr, rung.augment) == (1, 0.05, spec.stages.evaluate.training.augment)  # type: ignore[union-attr]
    assert spec.stages.transfer[0].data is not None
    assert spec.stages.transfer[0].data.split_seed == 1


def test_random_cells_enter_evaluate_alone_and_are_never_the_answer(run: RunDirectory, tmp_path: Path) -> None:
    report = json.loads(raydarts("report", run.path, "--json").stdout)
    stages = {stage["name"]: stage for stage in report["stages"]}
    marked = {name: [each["id"] for each in s["promotion"] if each.get("random_cell")] for name, s in stages.items()}
    cells = marked.pop("evaluate")
    assert len(set(cells)) == 2
    assert not any(marked.values())
    assert not set(cells) & {trial["genotype_id"] for trial in report["trials"]}
    assert not set(cells) & {row["genotype"] for stage in stages.values() for row in stage["ranking"]}
    assert not set(cells) & {row["genotype"] for row in stages["transfer-few-images"]["evaluations"]}
    rows = [row for row in report["evaluations"] if row["random_cell"]]
    assert {(row["genotype"], row["seed"]) for row in rows} == {(cell, seed) for cell in cells for seed in (0, 1)}
    assert {row["epochs"] for row in rows} == {3}  # the budget of every other genotype
    means = {row["genotype"]: row["validation_mean"] for row in report["random_cells"]["ranking"]}
    first = report["random_cells"]["improvement"][0]
    assert (first["of"], first["part"], first["n"], first["random_n"]) == ("first", "validation", 2, 2)
    best = report["ranking"][0]["validation_mean"]
    assert first["difference"] == pytest.approx(best - sum(means.values()) / 2)
    assert first["relative"] == pytest.approx(first["difference"] * 2 / sum(means.values()))
    text = " ".join(raydarts("report", run.path).stdout.split())
    assert "Improvement over random cells, validation accuracy" in text
    assert "drawn at random" in text
    raydarts("export", run.path, "--to", tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        exported = [row for row in csv.DictReader(file) if row["random_cell"] == "True"]
    assert {row["genotype_id"] for row in exported} == set(cells)


def test_a_certificate_of_a_real_sweep_holds_and_tells_what_was_changed(run: RunDirectory, tmp_path: Path) -> None:
    made = tmp_path / "c.json"
    assert raydarts("report", run.path, "--certificate", "--out", made).exit_code == 0
    assert raydarts("report", run.path, "--certificate", "--check", made).exit_code == 0
    body = json.loads(made.read_text())
    assert body["contradictions"] == body["damaged"] == []
    assert {stage["stage"]: stage["follows_from_results"] for stage in body["decisions"]["stages"]} == dict.fromkeys(
        STAGES, True
    )
    assert {stage["stage"] for stage in body["cost"]["stages"]} == {"search", *STAGES}
    answers = {
        (number, item["number"]): item["answer"]
        for number, each in enumerate(body["checklists"])
        for item in each["items"]
    }
    assert answers[0, 8] == answers[1, 1] == "yes"  # random cells
    assert answers[1, 3] == "yes"  # several training settings: rungs and evaluate
    assert answers[0, 1] == "not known"  # no file of a run shows what is published
    copy = tmp_path / "whole"
    shutil.copytree(run.path, copy)
    assert raydarts("report", copy, "--certificate", "--check", made).exit_code == 0  # a run may be moved
    row = next((copy / "evaluations").iterdir()) / "metrics.jsonl"
    row.write_text(row.read_text().replace('"validation_accuracy": 0.', '"validation_accuracy": 0.9', 1))
    told = raydarts("report", copy, "--certificate", "--check", made)
    assert told.exit_code == 6
    assert f"{row.relative_to(copy)}: was changed (line 1 differs)" in told.output


def test_report_status_export_and_compare_know_the_stages(run: RunDirectory, tmp_path: Path) -> None:
    text = " ".join(raydarts("report", run.path).stdout.split())
    status = raydarts("status", run.path).stdout
    for name in ("rung-1", "rung-2", "transfer-few-images"):
        assert f"{name}: Retrained genotypes" in text
        assert name in status
    assert "budget spent:" in status
    assert "wall hours" in status
    assert raydarts("report", run.path, "--html", "--out", tmp_path / "r.html").exit_code == 0
    page = (tmp_path / "r.html").read_text()
    for words in (
        "Stage rung-1",
        "Which genotypes entered rung-2",
        "Stage transfer-few-images",
        "same held-out images",
    ):
        assert (words in page) == (words != "same held-out images")  # one genotype was evaluated: no ranking to caution
    assert raydarts("export", run.path, "--to", tmp_path / "t.csv").exit_code == 0
    with (tmp_path / "t.csv").open() as file:
        exported = [row["stage"] for row in csv.DictReader(file)]
    written = ["evaluation" if stage_of(trial) == "evaluate" else stage_of(trial) for trial in jobs(run)]
    assert sorted(exported) == sorted(written)
    assert {"search", "evaluation", "rung-1", "rung-2", "transfer-few-images"} == set(exported)
    compared = json.loads(raydarts("compare", run.path, run.path, "--json").stdout)
    assert [(stage["name"], stage["comparable"]) for stage in compared["stages"]] == [
        (name, True) for name in STAGES if name != "evaluate"
    ]


def test_a_stage_runs_alone_on_the_genotypes_of_a_run_and_of_a_file(run: RunDirectory, tmp_path: Path) -> None:
    best = json.loads(raydarts("report", run.path, "--json").stdout)["ranking"][0]["genotype"]
    published = tmp_path / "mine.json"
    edges = [["sep_conv_3x3", 0], ["max_pool_3x3", 1]]
    published.write_text(
        json.dumps({"normal": edges, "normal_concat": [2], "reduce": edges, "reduce_concat": [2]}), encoding="utf-8"
    )
    arguments = ["--stage", "transfer-few-images", "--genotypes", run.path, "--genotypes", published]
    arguments += ["--storage", tmp_path, "--name", "alone"]
    more = sets(**{"transfer.0.top_k": 2, "evaluate.top_k": 2, "transfer.0.seeds": "[5]"})
    done = raydarts("sweep", SPEC, *arguments, *more)
    assert done.exit_code == 0, done.output
    alone = RunDirectory.open(tmp_path / "alone")
    assert {stage_of(trial) for trial in jobs(alone)} == {"transfer-few-images"}
    described = alone.description()
    assert described["stage"] == "transfer-few-images"
    assert [each["source"] for each in described["genotypes"]["from"]] == [str(run.path), str(published)]
    assert described["genotypes"]["from"][0]["stage"] == "evaluate"
    (stage,) = json.loads(raydarts("report", alone.path, "--json").stdout)["stages"]
    assert stage["from"] == "given"
    assert stage["promotion"][0]["id"] == best
    assert "whole: number 1 in evaluate" in stage["promotion"][0]["reason"]
    assert {row["status"] for row in stage["evaluations"]} == {"completed"}
    assert len(stage["ranking"]) == 2
    assert raydarts("resume", alone.path).exit_code == 0  # nothing is left, and nothing else is begun
    assert {stage_of(trial) for trial in jobs(alone)} == {"transfer-few-images"}


def test_what_cannot_be_run_alone_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    other = tmp_path / "nb201.json"
    other.write_text(json.dumps("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|"))
    cases: list[tuple[list[Any], list[str]]] = [
        (["--genotypes", run.path], ["--genotypes are for one stage"]),
        (["--stage", "evaluate"], ["--stage evaluate needs genotypes"]),
        (["--stage", "rung-3", "--genotypes", run.path], ["no stage 'rung-3'", "rung-1, rung-2, evaluate"]),
        (["--stage", "search", "--genotypes", run.path], ["finds its own genotypes"]),
        (["--stage", "evaluate", "--genotypes", tmp_path / "gone"], ["gone: there is no such file or run"]),
        (["--stage", "evaluate", "--genotypes", tmp_path], ["is no run"]),
        (["--stage", "evaluate", "--genotypes", other], ["none of its 1 genotypes", "(darts-cnn)"]),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError) as refused:
            raydarts("sweep", SPEC, "--storage", tmp_path, "--name", "never", *sets(), *arguments)
        for word in words:
            assert word in str(refused.value)
    assert not (tmp_path / "never").exists()


def test_a_resume_changes_the_budget_and_nothing_else(run: RunDirectory) -> None:
    for change, words in [
        ("search.epochs=3", "a run keeps the spec it began with"),
        ("budget.gpu_hours=-1", "must be greater than 0"),
        ("budget.hours=1", "unknown key 'hours'"),
    ]:
        with pytest.raises(InputError, match=words) as refused:
            raydarts("resume", run.path, "--set", change)
        assert f"--set '{change}'" in str(refused.value)
    assert raydarts("resume", run.path, "--set", "budget.cpu_hours=7", "--set", "budget.wall_hours=null").exit_code == 0
    assert json.loads(raydarts("status", run.path, "--json").stdout)["budget"]["limits"] == {"cpu_hours": 7}
