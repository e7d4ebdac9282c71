"""`evaluate: {confidence: 0.9}` as a user meets it: the plan, the sweep, its report, and a kill with a resume."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from raydarts.cli import app
from raydarts.config.loader import load_spec
from raydarts.config.plan import plan
from raydarts.errors import SpecError
from raydarts.runs.directory import RunDirectory
from tests.here import sweeps_run_here

SPEC = """
data: {dataset: digits, limit: 60, validation_fraction: 0.2}
search:
  seed: {grid: [0, 1, 2, 3, 4]}
  epochs: 1
  batch_size: 16
  space: {name: robust_s3, channels: 2, layers: 3, nodes: 1}
sweep: {searcher: grid, objective: validation_accuracy, max_concurrent: 1, fuse: "off"}
evaluate:
  confidence: 0.9
  max_share: null
  max_seeds: 2
  training: {epochs: 2, batch_size: 16, network: {channels: 2, layers: 3, auxiliary_weight: 0}}
"""


@pytest.fixture(scope="module", autouse=True)
def local_sweeps() -> Iterator[None]:
    """The sweeps of this file train in this process."""
    with sweeps_run_here():
        yield


def raydarts(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("confidence") / "sure.yaml"
    file.write_text(SPEC, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def whole(spec: Path) -> RunDirectory:
    done = raydarts("sweep", spec, "--storage", spec.parent, "--name", "whole")
    assert done.exit_code == 0, done.output
    assert "is the best with probability" in done.output
    return RunDirectory.open(spec.parent / "whole")


def report(run: RunDirectory) -> dict[str, object]:
    shown: dict[str, object] = json.loads(raydarts("report", run.path, "--json").stdout)
    return shown


def test_the_plan_names_the_short_trainings_and_the_most_retrainings(spec: Path) -> None:
    stages = {stage.name: (stage.jobs, stage.epochs) for stage in plan(load_spec(spec)).stages}
    assert stages == {"search": (5, 1), "rung-1": (5, 2), "evaluate": (8, 2)}  # four genotypes with two seeds
    limited = plan(load_spec(spec, ["evaluate.max_share=0.5"])).stages
    assert {stage.name: stage.jobs for stage in limited}["evaluate"] == 4
    words = " ".join(raydarts("sweep", spec, "--dry-run").output.split())
    assert "epochs at most: search 5, rung-1 10, evaluate 16" in words


def test_a_sweep_adds_seeds_and_says_how_sure_it_is(whole: RunDirectory) -> None:
    shown = report(whole)
    allocation, ranking = shown["allocation"], shown["ranking"]
    assert isinstance(allocation, list)
    assert isinstance(ranking, list)
    assert len(ranking) == 4
    assert len(allocation) > 1
    assert allocation[0]["add"]
    assert allocation[-1]["stop"]
    assert allocation[-1]["first"] == ranking[0]["genotype"]
    counted = {row["genotype"]: row["n"] for row in ranking}
    assert counted == allocation[-1]["scores"]
    assert sum(counted.values()) == len(counted) + sum(len(entry["add"]) for entry in allocation)
    assert max(counted.values()) <= 2
    assert "with probability" in " ".join(raydarts("report", whole.path).stdout.split())
    assert raydarts("report", whole.path, "--html", "--out", Path(str(whole.path)) / "r.html").exit_code == 0
    assert "Evaluation seeds were added" in (Path(str(whole.path)) / "r.html").read_text(encoding="utf-8")
    needed = json.loads(raydarts("status", whole.path, "--json").stdout)["budget"]["needed"]
    assert {stage["stage"]: stage["epochs"] for stage in needed}["evaluate"] == 0
    assert raydarts("resume", whole.path).exit_code == 0
    assert report(whole) == shown


def test_a_sweep_interrupted_after_each_of_its_decisions_ends_as_one_that_was_not(
    spec: Path, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RunDirectory.append

    def interrupted(run: RunDirectory, name: str, entry: Mapping[str, object]) -> None:
        append(run, name, entry)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", interrupted)
        assert raydarts("sweep", spec, "--storage", spec.parent, "--name", "cut").exit_code == 130
        cut = RunDirectory.open(spec.parent / "cut")
        for _ in range(20):
            if raydarts("resume", cut.path).exit_code == 0:
                break
    one, other = (Path(str(run.path)) / "allocation.jsonl" for run in (cut, whole))
    assert one.read_bytes() == other.read_bytes()
    assert report(cut)["ranking"] == report(whole)["ranking"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("evaluate.confidence=1", "must be less than 1"),
        ("evaluate.confidence=0.5", "must be greater than 0.5"),
        ("evaluate.max_seeds=0", "must be at least 1"),
        ("evaluate.seeds=[0, 1, 2]", "max_seeds is 2"),
        ("evaluate.top_k=half", "top_k"),
        ("rungs=[{confidence: 0.9, top_k: 3}]", "unknown key 'confidence'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(spec: Path, change: str, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        raydarts("sweep", spec, "--dry-run", "--set", change)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["evaluate.confidence=null", "evaluate.seeds=[0]"], "evaluate.max_seeds acts only with confidence"),
        (["evaluate.max_seeds=1"], "max_seeds allows no more than the 1 of seeds"),
    ],
)
def test_settings_that_do_nothing_are_named(spec: Path, changes: list[str], words: str) -> None:
    sets = [word for change in changes for word in ("--set", change)]
    assert words in " ".join(raydarts("sweep", spec, "--dry-run", *sets).output.split())
