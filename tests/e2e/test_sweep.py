"""Real searches on real digits, to the ranking. Through real Ray, over losses: fault/test_local_ray_lost.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.spaces.darts_cnn import PRIMITIVES
from tests.commands import run_here
from tests.here import sweeps_run_here

pytestmark = pytest.mark.slow

SPEC = """
data: {dataset: digits, limit: 120, validation_fraction: 0.25}
search:
  epochs: 2
  batch_size: 16
  arch_lr: 0.05
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: {grid: [0.05, 0.5]}}
  regularizers: [{name: drop_path, probability: 0.2}]
sweep: {searcher: grid, resources: {cpus: 1}}
evaluate:
  top_k: 2
  seeds: [3, 5]
  training: {epochs: 2, batch_size: 16, network: {channels: 2, layers: 3, auxiliary_weight: 0.4}}
"""


def report(run: Path) -> dict[str, Any]:
    done = run_here("report", run, "--json", cwd=run.parent)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, in this process."""
    place = tmp_path_factory.mktemp("whole")
    (place / "spec.yaml").write_text(SPEC)
    with sweeps_run_here():
        done = run_here("sweep", "spec.yaml", "--storage", place, "--name", "run", cwd=place)
    assert done.code == 0, done.out + done.err
    assert "Retrained genotypes" in done.out
    return place / "run"


def test_the_report_has_every_trial_and_an_honest_ranking(whole: Path) -> None:
    found = report(whole)
    assert [trial["status"] for trial in found["trials"]] == ["completed"] * 3
    assert {trial["config"]["estimator"]["name"] for trial in found["trials"]} == {"first_order", "finite_difference"}
    for trial in found["trials"]:
        assert {"id", "status", "config", "metrics", "genotype", "skips"} <= set(trial)
        assert set(trial["skips"]) == {"normal", "reduce"}
        for name in ("weight_loss", "alpha_loss", "weight_accuracy", "alpha_accuracy", "entropy_normal", "seconds"):
            assert trial["metrics"][name] >= 0
    evaluated = {(row["genotype"], row["seed"]) for row in found["evaluations"]}
    assert {seed for _, seed in evaluated} == {3, 5}
    assert len(evaluated) == 2 * len(found["ranking"])
    means = [row["validation_mean"] for row in found["ranking"]]
    assert means == sorted(means, reverse=True)
    for row in found["ranking"]:
        values = [e["validation_accuracy"] for e in found["evaluations"] if e["genotype"] == row["genotype"]]
        assert row["n"] == 2
        assert row["validation_mean"] == pytest.approx(sum(values) / 2)
        assert row["validation_std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
        assert 0 <= row["test_mean"] <= 1
    merged = [trial for entry in found["genotypes"] for trial in entry["trials"]]
    assert sorted(merged) == sorted(trial["id"] for trial in found["trials"])


def _alphas(run: Path) -> dict[str, Any]:
    return {
        path.parent.name: json.loads(path.read_text())["result"]["alpha"] for path in run.glob("trials/*/result.json")
    }


def test_trials_that_differ_in_xi_or_order_end_with_different_alpha(whole: Path) -> None:
    alphas = [json.dumps(alpha) for alpha in _alphas(whole).values()]
    assert len(set(alphas)) == 3


@pytest.mark.usefixtures("local_sweeps")
def test_a_remedy_of_ones_own_works_in_a_sweep(tmp_path: Path) -> None:
    """The example of docs/remedies.md: the higher price leaves lighter skip connections."""
    examples = Path(__file__).parents[2] / "docs" / "examples"
    smaller = ("--set", "search.seed=0", "--set", "data.limit=160", "--set", "search.space.nodes=1")
    done = run_here("sweep", "own-remedy.yaml", "--storage", tmp_path, "--name", "run", *smaller, cwd=examples)
    assert done.code == 0, done.out + done.err
    shares: dict[float, float] = {}
    for trial in sorted((tmp_path / "run" / "trials").iterdir()):
        config = json.loads((trial / "trial.json").read_text())["config"]
        alpha = torch.tensor(json.loads((trial / "result.json").read_text())["result"]["alpha"]["normal"])
        strength = config["regularizers"][0]["strength"]
        shares[strength] = float(alpha.softmax(-1)[:, PRIMITIVES.index("skip_connect")].mean())
    assert shares.keys() == {0, 50}
    assert shares[50] < 0.9 * shares[0]
