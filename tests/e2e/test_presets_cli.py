"""Presets at the command line: listed, shown in the plan, honoured by single runs and remembered in run.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raydarts.cli import app

pytestmark = pytest.mark.usefixtures("one_thread")

CELL = [["skip_connect", 0], ["sep_conv_3x3", 1]]
GENOTYPE = {"normal": CELL, "normal_concat": [2], "reduce": CELL, "reduce_concat": [2]}
SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search:
  preset: darts-cifar10
  epochs: 1
  batch_size: 16
  space: {name: darts-cnn, channels: 4, layers: 3, nodes: 1}
evaluate:
  training:
    preset: p-darts-cifar10
    epochs: 1
    network: {channels: 4, layers: 3}
"""


def run(*arguments: str) -> str:
    """What a command prints; in this process, for its start would be most of the cost."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def stored(path: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((path / "run.json").read_text())["spec"]
    return spec


def test_presets_are_listed_planned_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "genotype.json").write_text(json.dumps(GENOTYPE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    code = ["--set", "search.preset=darts-cifar10-code"]
    rows = {(row["for"], row["name"]): row for row in json.loads(run("list", "presets", "--json"))}
    assert rows[("search", "darts-cifar10")]["origins"]["grad_clip"] == "code"
    assert rows[("search", "darts-cifar10-code")]["values"]["lr_min"] == 0.001
    table = run("list", "presets")
    assert all(name in table and place in table for place, name in rows)
    plan = run("validate", "spec.yaml", *code)
    assert "search: preset darts-cifar10-code" in plan
    assert "evaluate.training: preset p-darts-cifar10" in plan
    run("search", "spec.yaml", "--name", "searched", *code)
    run("evaluate", "genotype.json", "--spec", "spec.yaml", "--name", "evaluated")
    searched, evaluated = stored(tmp_path / "runs" / "searched"), stored(tmp_path / "runs" / "evaluated")
    assert searched["presets"] == {"search": ["darts-cifar10-code"]}
    assert (searched["search"]["lr_min"], searched["search"]["alpha_init"]) == (0.001, 0.001)
    assert (searched["search"]["epochs"], searched["search"]["space"]["nodes"]) == (1, 1)
    assert evaluated["presets"] == {"evaluate.training": ["p-darts-cifar10"]}
    training = evaluated["evaluate"]["training"]
    assert (training["batch_size"], training["drop_path"], training["network"]["layers"]) == (128, 0.3, 3)
