"""The sweep of docs/replicates.md, as a user meets it: the page's YAML through the commands."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from statistics import fmean, stdev

import pytest

from raydarts.schedulers.pbt import PopulationBased
from tests.commands import Outcome, run_here
from tests.here import sweeps_run_here

PAGE = (Path(__file__).parents[2] / "docs" / "replicates.md").read_text()
(SPEC,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
EVALUATE = """
evaluate:
  top_k: 3
  seeds: [0]
  training: {epochs: 1, batch_size: 16, network: {channels: 2, layers: 3, auxiliary_weight: 0}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's sweep, with a retraining behind it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "replicates.yaml").write_text(SPEC + EVALUATE)
    with sweeps_run_here():
        done = run_here("sweep", "replicates.yaml", "--name", "seeds", cwd=folder)
    assert done.code == 0, done.out + done.err
    return folder


def good(project: Path, *arguments: str) -> Outcome:
    done = run_here(*arguments, cwd=project)
    assert done.code == 0, done.out + done.err
    return done


def test_the_commands_of_the_page_are_those_of_this_test() -> None:
    commands = re.findall(r"^    raydarts (.*)$", PAGE, re.M)
    assert commands == [
        "sweep replicates.yaml --dry-run",
        "sweep replicates.yaml --name seeds",
        "report runs/seeds",
    ]


def test_the_plan_counts_configurations_and_search_seeds(project: Path) -> None:
    done = good(project, "sweep", "replicates.yaml", "--dry-run")
    assert "2 configurations x 2 search seeds" in done.out
    assert "epochs at most: search 8" in done.out
    assert json.loads((project / "runs/seeds/plan.json").read_text())[0]["jobs"] == 4


def test_each_trial_says_its_configuration_and_its_seed_and_runs_with_it(project: Path) -> None:
    run = project / "runs/seeds"
    trials = [json.loads((run / f"trials/{index:04d}/trial.json").read_text()) for index in range(4)]
    assert [(each["configuration"], each["replicate"]) for each in trials] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [each["config"]["seed"] for each in trials] == [0, 1, 0, 1]
    assert [each["config"]["lr"] for each in trials] == [0.02, 0.02, 0.1, 0.1]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    asks = [event for event in events if event["event"] == "ask"]
    assert [(each["configuration"], each["replicate"]) for each in asks] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    stops = [event for event in events if event.get("decision") == "stop" and "reason" not in event]
    lost = stops[0]["index"] // 2
    statuses = [json.loads((run / f"trials/{index:04d}/result.json").read_text())["status"] for index in range(4)]
    assert statuses[2 * lost : 2 * lost + 2] == ["stopped", "stopped"]


def test_reports_have_means_with_spread_and_n(project: Path) -> None:
    report = json.loads(good(project, "report", "runs/seeds", "--json").out)
    first = report["configurations"][0]
    values = [each["metrics"]["validation_accuracy"] for each in report["trials"] if each["configuration"] == "0000"]
    assert first["trials"] == ["0000", "0001"]
    assert (first["mean"], first["sd"], first["n"]) == (
        pytest.approx(fmean(values)),
        pytest.approx(stdev(values)),
        2,
    )
    shown = good(project, "report", "runs/seeds").out
    assert "Configurations (validation accuracy: mean ± std over search seeds)" in shown
    assert f"{fmean(values):.4f} ± {stdev(values):.4f}" in shown
    status = good(project, "status", "runs/seeds").out
    assert re.search(r"configurations: 1 (completed, 1 stopped|stopped, 1 completed)", status)
    assert re.search(r"best so far: configuration 000[01], 0\.\d{4} ± 0\.\d{4} over 2 search seeds", status)
    good(project, "report", "runs/seeds", "--html")
    page = (project / "runs/seeds/report.html").read_text()
    assert "2 configurations as a table" in page
    assert "Effects, their means and their tests are over configurations" in page
    good(project, "export", "runs/seeds", "--to", "all.csv")
    rows = list(csv.DictReader((project / "all.csv").open()))
    assert [(row["configuration"], row["search_seed"]) for row in rows[:4]] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "0"),
        ("1", "1"),
    ]


def test_genotypes_of_the_best_configuration_come_first(project: Path) -> None:
    report = json.loads(good(project, "report", "runs/seeds", "--json").out)
    best = max(report["configurations"], key=lambda each: (each["status"] == "completed", each["order"]))
    decisions = json.loads((project / "runs/seeds/promotion.json").read_text())
    healthy = [each for each in decisions if "against" not in each and "fallback" not in each]
    first = [each["configuration"] == best["configuration"] for each in healthy]
    assert first == sorted(first, reverse=True)
    assert decisions[0]["n"] == 2
    assert (
        f"of configuration {best['configuration']}, mean validation_accuracy {best['mean']:.4f}"
        in (decisions[0]["reason"])
    )


def test_a_resume_of_a_finished_run_has_nothing_to_do(project: Path) -> None:
    before = (project / "runs/seeds/events.jsonl").read_bytes()
    with sweeps_run_here():
        good(project, "resume", "runs/seeds")
    assert (project / "runs/seeds/events.jsonl").read_bytes() == before


SEED = "search:\n  seed: {}\n"
REFUSED = {
    "open": (
        "{grid: [0, 1]}",
        "is left open (0, 1), and sweep.replicates gives each configuration its search seeds (0, 1)",
    ),
    "an open range": ("{randint: [0, 9]}", "is left open (0, 9)"),
    "another": ("7", "is 7, and sweep.replicates gives each configuration its search seeds (0, 1)"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("searcher", ["grid", "{name: optuna, trials: 4, startup_trials: 2}"])
def test_a_search_seed_that_says_otherwise_is_refused_with_its_line(tmp_path: Path, case: str, searcher: str) -> None:
    written, told = REFUSED[case]
    text = SPEC.replace("search:\n", SEED.format(written)).replace("searcher: grid", f"searcher: {searcher}")
    (tmp_path / "spec.yaml").write_text(text)
    done = run_here("validate", "spec.yaml", cwd=tmp_path)
    assert done.code == 2
    line = next(number for number, each in enumerate(text.splitlines(), start=1) if "seed:" in each)
    assert f"spec.yaml:{line}: search.seed: {told}" in done.err
    assert done.err.count("search.seed:") == 1
    closed = run_here("validate", "spec.yaml", "--set", "search.seed=1", cwd=tmp_path)
    assert closed.code == 0, closed.err
    assert "does nothing: search.seed is 1, and sweep.replicates gives the search seeds (0, 1)" in closed.out


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[]", "needs at least one search seed"),
        ("[1, 1]", "search seeds must be distinct"),
        ("3", "must be a list"),
        ("[-1]", "at least 0"),
        ("{grid: [0, 1]}", "can only stand under search"),
    ],
)
def test_replicates_that_are_no_seeds_are_refused(tmp_path: Path, written: str, told: str) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("[0, 1]", written))
    done = run_here("validate", "spec.yaml", cwd=tmp_path)
    assert done.code == 2
    assert re.search(rf"spec\.yaml:10: sweep\.replicates\S* .*{re.escape(told)}", done.err), done.err


def test_one_search_seed_has_no_spread_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("[0, 1]", "[4]"))
    done = run_here("validate", "spec.yaml", cwd=tmp_path)
    assert done.code == 0
    assert "does nothing: sweep.replicates has one search seed, of which no spread is known" in done.out
    assert "write two or more, or search.seed: 4" in done.out


class Forking(PopulationBased):
    """A scheduler from outside that copies trials."""

    NAME = "forking"


@pytest.mark.parametrize("scheduler", ["pbt", f"{__name__}:Forking"])
def test_a_scheduler_that_copies_trials_is_refused_with_replicates(tmp_path: Path, scheduler: str) -> None:
    text = re.sub(r"scheduler: .*", f"scheduler: '{scheduler}'", SPEC)
    (tmp_path / "spec.yaml").write_text(text)
    done = run_here("validate", "spec.yaml", cwd=tmp_path)
    assert done.code == 2
    assert f"spec.yaml:11: sweep.scheduler: {scheduler} copies a trial's weights and settings" in done.err
    assert "leave sweep.replicates out" in done.err


def test_an_open_seed_under_a_model_is_told_of_replicates(tmp_path: Path) -> None:
    text = SPEC.replace("search:\n", SEED.format("{grid: [0, 1]}")).replace("  replicates: [0, 1]\n", "")
    (tmp_path / "spec.yaml").write_text(text.replace("searcher: grid", "searcher: {name: optuna, trials: 4}"))
    done = run_here("validate", "spec.yaml", cwd=tmp_path)
    assert done.code == 2
    assert "Write sweep.replicates: [0, 1, 2] in its place" in done.err
