"""Real searches on real digits: to the ranking here, and through real Ray over a SIGKILL of the driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.spaces.darts_cnn import PRIMITIVES
from tests.commands import run_here
from tests.here import sweeps_run_here

SPEC = """
data: {dataset: digits, limit: 160, validation_fraction: 0.25}
search:
  epochs: 3
  batch_size: 16
  arch_lr: 0.05
  space: {name: darts-cnn, channels: 4, layers: 3, nodes: 2}
  estimator:
    choice:
      - first_order
      - {name: finite_difference, xi: {grid: [0.05, 0.5]}}
  regularizers: [{name: drop_path, probability: 0.2}]
sweep: {searcher: grid, resources: {cpus: 1}}
evaluate:
  top_k: 2
  seeds: [3, 5]
  training: {epochs: 3, batch_size: 16, network: {channels: 4, layers: 3, auxiliary_weight: 0.4}}
"""


def raydarts(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=400, check=False)


def report(run: Path) -> dict[str, Any]:
    done = raydarts("report", run, "--json", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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


def _comparable(found: dict[str, Any]) -> dict[str, Any]:
    for trial in found["trials"]:
        trial["metrics"] = {k: v for k, v in trial["metrics"].items() if k not in ("seconds", "memory_mb")}
        del trial["seconds"]
    return {key: found[key] for key in ("trials", "genotypes", "evaluations", "ranking")}


def _wait_for(condition: Any, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the sweep did not get that far"
        time.sleep(0.05)


def killed(run: Path, pattern: str, *arguments: object) -> None:
    """Run a driver until a file of its run shows up, then kill it."""
    command = [sys.executable, "-m", "raydarts.cli", *map(str, arguments)]
    with (run.parent / "log").open("a") as log:
        driver = subprocess.Popen(command, cwd=run.parent, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(lambda: any(run.glob(pattern)))
        finally:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()


def test_a_driver_killed_in_both_stages_resumes_to_the_end_of_an_uninterrupted_run(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    run = tmp_path / "run"
    killed(run, "trials/*/result.json", "sweep", "spec.yaml", "--storage", tmp_path, "--name", "run")
    finished = {path: path.stat().st_mtime_ns for path in run.glob("*/*/result.json")}
    assert len(finished) < 3
    killed(run, "evaluations/*/metrics.jsonl", "resume", run)
    finished |= {path: path.stat().st_mtime_ns for path in run.glob("*/*/result.json") if path not in finished}
    assert len(finished) < 3 + 4
    done = raydarts("resume", run, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # not run again
    assert _alphas(run) == _alphas(whole)
    assert _comparable(report(run)) == _comparable(report(whole))


@pytest.mark.usefixtures("local_sweeps")
def test_a_remedy_of_ones_own_works_in_a_sweep(tmp_path: Path) -> None:
    """The example of docs/remedies.md: the higher price leaves lighter skip connections."""
    examples = Path(__file__).parents[2] / "docs" / "examples"
    done = run_here("sweep", "own-remedy.yaml", "--storage", tmp_path, "--name", "run", cwd=examples)
    assert done.code == 0, done.out + done.err
    shares: dict[tuple[int, float], float] = {}
    for trial in sorted((tmp_path / "run" / "trials").iterdir()):
        config = json.loads((trial / "trial.json").read_text())["config"]
        alpha = torch.tensor(json.loads((trial / "result.json").read_text())["result"]["alpha"]["normal"])
        strength = config["regularizers"][0]["strength"]
        shares[config["seed"], strength] = float(alpha.softmax(-1)[:, PRIMITIVES.index("skip_connect")].mean())
    assert len(shares) == 4
    for seed in (0, 1):
        assert shares[seed, 50] < 0.9 * shares[seed, 0]
