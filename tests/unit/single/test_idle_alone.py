"""What a single search or evaluation makes no use of is said when it starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import run_here
from tests.unit.single.test_memory_full import GENOTYPE, SPEC

MORE = """
sweep: {resources: {gpus: 1}, checkpoint_every: 9, epoch_timeout: 60}
budget: {cpu_hours: 3}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("raydarts.single.go_on", lambda *_: None)
    monkeypatch.setattr("raydarts.single.device", lambda gpu: "cpu")
    Path("spec.yaml").write_text(SPEC + MORE)
    Path("genotype.json").write_text(json.dumps(GENOTYPE))


def idle(*argv: str) -> list[str]:
    done = run_here(*argv, "--storage", ".")
    assert done.code == 0, done.err
    return [line.removeprefix("does nothing: ") for line in done.out.splitlines() if line.startswith("does nothing: ")]


def test_a_search_says_what_is_for_sweeps() -> None:
    found = idle("search", "spec.yaml", "--set", "search.estimator={name: finite_difference, xi: 0}")
    assert [why.split(" ")[0] for why in found] == [
        "search.estimator.xi",
        "sweep.resources.gpus",
        "sweep.checkpoint_every",
        "sweep.epoch_timeout",
        "budget",
    ]
    assert "this trains on the CPU; add --gpu" in found[1]


def test_on_a_gpu_what_is_for_gpus_acts() -> None:
    found = idle("search", "spec.yaml", "--gpu", "--set", "search.tf32=true", "--set", "budget=null")
    assert [why.split(" ")[0] for why in found] == ["sweep.checkpoint_every", "sweep.epoch_timeout"]
    assert "search.tf32" in idle("search", "spec.yaml", "--set", "search.tf32=true", "--name", "two")[0]


def test_an_evaluation_says_its_own() -> None:
    found = idle(
        *("evaluate", "genotype.json", "--spec", "spec.yaml", "--set", "evaluate.resources={workers: 2}"),
        *("--set", "evaluate.training.warmup_epochs=1", "--set", "evaluate.training.epochs=2"),
    )
    assert [why.split(" ")[0] for why in found] == [
        "evaluate.training.warmup_epochs",
        "budget",
        "evaluate.resources.workers",
    ]


def test_a_spec_without_a_training_is_said_to_have_none() -> None:
    done = run_here("evaluate", "genotype.json", "--spec", "spec.yaml", "--set", "evaluate=null", "--storage", ".")
    assert done.code == 0, done.err
    assert "spec.yaml: has no evaluate, so the training is the default: 600 epochs" in done.out
