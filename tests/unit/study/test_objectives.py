"""What a run is ranked by is read out of its run.json: kept there, else by what it trained, else the run is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import DamagedError
from raydarts.runs.directory import RunDirectory
from raydarts.study.objectives import ACCURACY, PERPLEXITY, Score, figure, score_of, search_score_of
from tests.commands import run_here

KNOWN: dict[str, tuple[dict[str, Any], Score]] = {
    "kept": ({"data": {"dataset": {"name": "digits"}}, "score": PERPLEXITY.to_json()}, PERPLEXITY),
    "images": ({"data": {"dataset": {"name": "cifar10"}}}, ACCURACY),
    "images, by the name alone": ({"data": {"dataset": "digits"}}, ACCURACY),
    "text": ({"data": {"dataset": {"name": "ptb"}}}, PERPLEXITY),
    "a training of text": ({"evaluate": {"training": {"name": "language"}}}, PERPLEXITY),
    "a training of images on data from outside": (
        {"evaluate": {"training": {"name": "image"}}, "data": {"dataset": {"name": "mine:Data"}}},
        ACCURACY,
    ),
    "a table": ({"evaluate": {"table": {"file": "t.csv"}, "training": {"name": "language"}}}, ACCURACY),
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "data from outside": {"data": {"dataset": {"name": "mine:Data"}}},
    "an unknown data set": {"data": {"dataset": {"name": "gone"}}},
    "an unknown training": {"evaluate": {"training": {"name": "speech"}}, "data": {"dataset": {"name": "digits"}}},
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_run_is_ranked_by_what_it_keeps_or_trained(case: str) -> None:
    spec, expected = KNOWN[case]
    assert score_of({"spec": spec}) == expected


@pytest.mark.parametrize("case", UNKNOWN)
def test_score_of_an_unknown_run_is_not_guessed(case: str) -> None:
    with pytest.raises(DamagedError, match=r"run.json of run r: damaged: spec.score is missing.*write what that is"):
        score_of({"name": "r", "spec": UNKNOWN[case]})


def test_a_search_is_ordered_by_the_sweeps_metric_whatever_the_score() -> None:
    assert search_score_of({"spec": {"sweep": {"metric": "alpha_loss", "mode": None}}}).mode == "min"


@pytest.mark.parametrize("command", [["report"], ["report", "--json"], ["status"], ["sweep"]])
def test_commands_refuse_a_run_that_does_not_say(command: list[str], tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "r", kind="sweep", spec={"data": {"dataset": {"name": "mine:Data"}}})
    words = [*command, run.path]
    if command == ["sweep"]:
        spec = tmp_path / "spec.yaml"
        spec.write_text("data: {dataset: digits}\nevaluate: {}\n")
        words = ["sweep", spec, "--dry-run", "--stage", "evaluate", "--genotypes", run.path]
    done = run_here(*words)
    assert done.code == 2
    assert "run.json" in done.err
    assert "spec.score is missing" in done.err


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.5), (1, 1.0), (True, None), ("0.5", None), (None, None), (1e200, None), (float("nan"), None)],
)
def test_a_figure_is_one_number_everywhere(value: Any, expected: float | None) -> None:
    assert figure(value) == expected
    assert ACCURACY.of({"validation_accuracy": value}) == expected
