"""The tracker of one's own in docs/tracking.md, as a user meets it: the page's code and YAML, through the commands."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from raydarts import outside
from tests.commands import Outcome, run_here

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"
SECTION = PAGE.read_text().split("## A tracker of your own")[1]
(CODE,) = re.findall(r"```python\n(.*?)```", SECTION, re.S)
(TRACK,) = re.findall(r"^    track:\n(?:      .*\n)+", SECTION, re.M)
SPEC = """
data: {dataset: digits, limit: 80, validation_fraction: 0.25}
search: {epochs: 2, batch_size: 16, space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}}
evaluate: {training: {epochs: 1, batch_size: 16, network: {channels: 2, layers: 3, auxiliary_weight: 0}}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(outside, "_last", [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "my_tracker.py").write_text(CODE)
    (tmp_path / "spec.yaml").write_text(SPEC + dedent(TRACK))
    sys.modules.pop("my_tracker", None)
    yield tmp_path
    sys.modules.pop("my_tracker", None)


def good(project: Path, *arguments: str) -> Outcome:
    done = run_here(*arguments, cwd=project)
    assert done.code == 0, done.out + done.err
    assert "tracker" not in done.err
    return done


def page(trial: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (trial / "journal.jsonl").read_text().splitlines()]


def test_the_tracker_of_the_page_shows_a_search_an_evaluation_and_what_a_resume_adds(project: Path) -> None:
    good(project, "validate", "spec.yaml")
    good(project, "search", "spec.yaml", "--name", "one")
    trial = project / "runs/one/trials/0000"
    rows = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
    *epochs, last = page(trial)
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert epochs[1]["validation_accuracy"] == rows[1]["validation_accuracy"]
    assert last == {"status": "completed", "error": None}
    for file in ("result.json", "journal.jsonl"):
        (trial / file).unlink()
    good(project, "resume", "runs/one")
    assert page(trial) == [*epochs, last]  # a new process is told the earlier epochs too
    good(project, "evaluate", "runs/one/genotype.json", "--spec", "spec.yaml", "--name", "two")
    (evaluation,) = (project / "runs/two/evaluations").iterdir()
    assert [row.get("epoch") for row in page(evaluation)] == [1, None]


def test_a_run_of_somebody_else_that_names_a_tracker_is_not_resumed_without_trust(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(project, "search", "spec.yaml", "--name", "one", "--set", "search.epochs=1")
    trial = project / "runs/one/trials/0000"
    for file in ("result.json", "journal.jsonl"):
        (trial / file).unlink()
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "another"))
    refused = run_here("resume", "runs/one", cwd=project)
    assert refused.code == 2
    assert "my_tracker:Journal, from " in refused.err
    assert not (trial / "journal.jsonl").exists()
    good(project, "report", "runs/one")
    good(project, "resume", "runs/one", "--trust")
    assert page(trial)[-1]["status"] == "completed"


def test_what_is_wrong_with_its_settings_is_told_with_the_line(project: Path) -> None:
    text = (project / "spec.yaml").read_text()
    (project / "spec.yaml").write_text(text.replace("file: journal.jsonl", "fil: journal.jsonl"))
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "my_tracker:Journal" in each)
    done = run_here("validate", "spec.yaml", cwd=project)
    assert done.code == 2
    assert f"spec.yaml:{line}: track.my_tracker:Journal.fil: unknown key 'fil'; did you mean 'file'?" in done.err
    assert f"spec.yaml:{line}: track.my_tracker:Journal.file: is missing" in done.err
