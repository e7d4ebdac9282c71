"""A sweep with two objectives through the commands: search, promotion, status, report, comparison, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raydarts.runs.directory import RunDirectory
from raydarts.study.pareto import fronts
from tests.commands import run_here

SPEC = """\
question: Which cells are accurate, and which are small?
data: {dataset: digits, limit: 200}
search:
  epochs: 2
  batch_size: 16
  arch_lr: {loguniform: [0.001, 0.3]}
  estimator: first_order
  space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}
sweep:
  searcher: {name: optuna, sampler: nsga2, trials: 5, startup_trials: 2}
  scheduler: {name: moasha, grace_period: 1, reduction_factor: 2}
  objective: [healthy_accuracy, parameters]
  health: {parameter_free_share: false, skip_share: {most: 0.8}}
evaluate:
  top_k: 2
  seeds: [0]
  training: {epochs: 1, batch_size: 32, network: {channels: 2, layers: 3, auxiliary_weight: 0}}
"""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sweeps that differ in the seed of the searcher."""
    from tests.conftest import sweeps_run_here

    folder = tmp_path_factory.mktemp("several")
    (folder / "two.yaml").write_text(SPEC)
    with sweeps_run_here():
        for name, changed in (("one", ()), ("other", ("--set", "sweep.searcher.trials=3", "--set", "sweep.seed=1"))):
            done = run_here("sweep", folder / "two.yaml", "--storage", folder, "--name", name, *changed)
            assert done.code == 0, done.err
    return folder / "one", folder / "other"


def told(run: Path, command: str = "report") -> dict[str, Any]:
    done = run_here(command, run, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_the_front_is_that_of_the_completed_trials(sweeps: tuple[Path, Path]) -> None:
    report = told(sweeps[0])
    statuses = {trial["status"] for trial in report["trials"]}
    assert statuses == {"completed", "stopped"}, "moasha stops some"
    counted = [trial for trial in report["trials"] if trial["status"] == "completed" and not trial["unhealthy"]]
    points = [(-each["metrics"]["validation_accuracy"], each["metrics"]["parameters"]) for each in counted]
    first = {each["id"] for each, number in zip(counted, fronts(points), strict=True) if number == 1}
    front = report["front"]
    assert {member["name"] for member in front["members"]} == first
    assert front["counted"] == len(counted)
    assert 0 < front["hypervolume"] <= 1
    assert set(front["reference"]) == {"validation_accuracy", "parameters"}
    assert front["reference"]["parameters"] > max(size for _, size in points)
    assert told(sweeps[0], "status")["front"] == front


def test_the_front_is_retrained_first_and_the_reason_says_it(sweeps: tuple[Path, Path]) -> None:
    report = told(sweeps[0])
    taken = [each for each in report["promotion"] if each["promoted"]]
    assert taken
    on_front = {name for member in report["front"]["members"] for name in member["genotypes"]}
    assert taken[0]["id"] in on_front
    if len(on_front) > 1:
        assert {each["id"] for each in taken} <= on_front
    assert "; front 1, an end of it (validation_accuracy 0." in taken[0]["reason"]
    assert taken[0]["front"] == 1
    assert set(taken[0]["figures"]) == {"validation_accuracy", "parameters"}


def test_the_terminal_and_the_page_show_both_objectives(sweeps: tuple[Path, Path], tmp_path: Path) -> None:
    names = [member["name"] for member in told(sweeps[0])["front"]["members"]]
    report, status = run_here("report", sweeps[0]).out, run_here("status", sweeps[0]).out
    assert "trials are ranked by healthy_accuracy (higher is better) and parameters (lower is better)" in report
    line = f"completed trials: {', '.join(names)}"
    assert f"Pareto front: {len(names)} of " in report
    assert line in report
    assert line in status
    assert "reference point (validation accuracy" in report
    page = tmp_path / "page.html"
    assert run_here("report", sweeps[0], "--html", "--out", page).code == 0
    html = page.read_text(encoding="utf-8")
    assert 'id="figure-search-front"' in html
    assert "Pareto front of the search" in html
    assert "the reference is the worst of each objective" in html
    assert run_here("export", sweeps[0], "--to", tmp_path / "all.csv").code == 0
    assert "metric.parameters" in (tmp_path / "all.csv").read_text().splitlines()[0]


def test_two_runs_are_compared_in_one_box(sweeps: tuple[Path, Path]) -> None:
    done = run_here("compare", *sweeps, "--json")
    assert done.code == 0, done.err
    comparison = json.loads(done.out)
    assert len(comparison["hypervolumes"]) == 2
    assert all(0 <= each <= 1 for each in comparison["hypervolumes"])
    assert any("several objectives" in each for each in comparison["warnings"])
    shown = run_here("compare", *sweeps).out
    assert "hypervolume of the Pareto fronts, in one box around the trials of both runs: " in shown


def test_replay_of_the_run_ranks_by_both(sweeps: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_here("replay", sweeps[0], "--sweeps", 2, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    assert "share of FIFO's hypervolume" in done.out
    written = json.loads((tmp_path / "out.json").read_text())
    assert [each["name"] for each in written["sweep"]["objective"]] == ["healthy_accuracy", "parameters"]
    refused = run_here("replay", sweeps[0], "--sweeps", 2, "--set", "sweep.scheduler=asha")
    assert refused.code == 2
    assert "compares trials by one number" in refused.err


def test_every_event_keeps_the_figures_of_both(sweeps: tuple[Path, Path]) -> None:
    events = RunDirectory.open(sweeps[0]).events()
    decided = [event for event in events if event["event"] == "decide"]
    assert decided
    assert all(len(event["values"] or ()) == 2 for event in decided)
