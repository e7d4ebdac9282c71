"""`sweep --stage evaluate --genotypes RUN`: which cells of a run come first, through the command line, without Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from raydarts import cli
from raydarts.config.loader import load_spec
from raydarts.runs.directory import RunDirectory
from raydarts.runs.folders import retraining
from raydarts.spaces import Genotype

TEXT = """
data: {dataset: pydoc_topics, limit: 2000}
search: {space: {name: darts-rnn, nodes: 2, units: 6}, epochs: 1, text: {measured_columns: 10}}
rungs: [{top_k: 4, training: {epochs: 1}}]
evaluate: {top_k: 4, seeds: [0], training: {epochs: 1}}
"""
IMAGES = """
search: {space: {name: darts-cnn, nodes: 2, channels: 2, layers: 3}, epochs: 1}
sweep: {objective: validation_loss}
rungs: [{top_k: 4, training: {epochs: 1}}]
evaluate: {top_k: 4, seeds: [0], training: {epochs: 1}}
"""
PERPLEXITY = {"tanh": 50.0, "sigmoid": 100.0, "identity": 200.0, "relu": 300.0}
LOSS = {"sep_conv_3x3": 0.5, "max_pool_3x3": 0.9, "avg_pool_3x3": 1.3, "skip_connect": 2.2}


def cell_of(operation: str) -> Genotype:
    if operation in PERPLEXITY:
        return Genotype.from_json({"recurrent": [[operation, 0], [operation, 1]], "concat": [1, 2]}, "")
    edges = [[operation, source] for source in (0, 1, 0, 2)]
    cells = {"normal": edges, "normal_concat": [2, 3], "reduce": edges, "reduce_concat": [2, 3]}
    return Genotype.from_json(cells, "")


def finished_run(folder: Path, text: str, where: str, figures: dict[str, dict[str, float]]) -> Path:
    """A run whose stage `where` has one finished job for each operation, in alphabetical order."""
    spec = folder / "spec.yaml"
    spec.write_text(text)
    run = RunDirectory.create(folder / "first", kind="sweep", spec=load_spec(spec).to_plain(), text=text)
    for index, operation in enumerate(sorted(figures)):
        cell = cell_of(operation)
        if where == "search":
            trial = run.trial(index)
            trial.create({"kind": "search", "index": index, "config": {}, "choices": {}})
            known: dict[str, Any] = {"genotype": cell.to_json(), "genotype_id": cell.id, "skips": {}}
        else:
            trial = retraining(run, where, cell.id, 0)
            trial.create({"kind": "evaluation", "genotype_id": cell.id, "genotype": cell.to_json(), "seed": 0})
            known = {"result": figures[operation]}
        trial.append_row({"epoch": 1, **figures[operation]})
        trial.write_result({"status": "completed", "epochs": 1, "metrics": figures[operation], **known})
    return run.path


def retrained_first(folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations of the cells that the new run is given, in its order, and that nothing was started for it."""
    from raydarts.sweeping import runner

    monkeypatch.setattr(runner, "check_nodes", lambda storage: None)
    monkeypatch.setattr(runner, "run_sweep", lambda *arguments: 0)
    command = ["sweep", str(folder / "spec.yaml"), "--stage", "evaluate", "--genotypes", str(run)]
    monkeypatch.setattr(sys, "argv", ["raydarts", *command, "--storage", str(folder), "--name", "second"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    given = RunDirectory(folder / "second").description()["genotypes"]["candidates"]
    return [each["genotype"].get("recurrent", each["genotype"].get("normal"))[0][0] for each in given]


@pytest.mark.parametrize("where", ["evaluate", "rung-1", "search"])
def test_cells_of_a_run_ranked_by_perplexity_come_least_perplexity_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    figures = {name: {"validation_perplexity": value} for name, value in PERPLEXITY.items()}
    run = finished_run(tmp_path, TEXT, where, figures)
    wanted = list(PERPLEXITY)
    if where == "search":  # its objective ranks a cell of skips alone behind the others
        wanted = ["tanh", "sigmoid", "relu", "identity"]
    assert retrained_first(tmp_path, run, monkeypatch) == wanted


def test_cells_of_searches_ordered_by_loss_come_least_loss_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {name: {"validation_loss": loss, "validation_accuracy": 0.1 * loss} for name, loss in LOSS.items()}
    run = finished_run(tmp_path, IMAGES, "search", figures)
    assert retrained_first(tmp_path, run, monkeypatch) == list(LOSS)


def test_retrained_cells_of_images_come_by_accuracy_whatever_the_sweep_s_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {name: {"validation_loss": loss, "validation_accuracy": 0.1 * loss} for name, loss in LOSS.items()}
    run = finished_run(tmp_path, IMAGES, "evaluate", figures)
    assert retrained_first(tmp_path, run, monkeypatch) == list(reversed(LOSS))
