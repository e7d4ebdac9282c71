"""docs/plugins.md: one class of each family, and one spec that uses them all, through the commands of the page."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raydarts import outside
from raydarts.search.search import Search
from tests.commands import run_here
from tests.here import sweeps_run_here

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
CODE = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S))
(SPEC,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
COMMANDS = re.findall(r"^    raydarts (.+)$", PAGE, re.M)
FAMILIES = ("remedy", "space", "data set", "searcher", "scheduler", "probe", "objective", "health check", "tracker")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(outside, "_last", [])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "my_parts.py").write_text(CODE)
    (tmp_path / "parts.yaml").write_text(SPEC)
    sys.modules.pop("my_parts", None)
    yield tmp_path
    sys.modules.pop("my_parts", None)


def result_of(trial: Path) -> dict[str, object]:
    result: dict[str, object] = json.loads((trial / "result.json").read_text())
    return result


def interrupt_the_third_epoch(patch: pytest.MonkeyPatch) -> None:
    """The sweep is interrupted (Ctrl-C) while its trials are under way, once."""
    run_epoch, epochs = Search.run_epoch, iter(range(1, 100))

    def interrupted(self: Search) -> dict[str, object]:
        if next(epochs) == 3:
            raise KeyboardInterrupt
        return run_epoch(self)

    patch.setattr(Search, "run_epoch", interrupted)


def test_every_part_of_the_page_acts_in_the_commands_of_the_page(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project / "runs/parts"
    interrupt_the_third_epoch(monkeypatch)
    with sweeps_run_here():
        for command in COMMANDS:
            done = run_here(*command.split(), cwd=project)
            assert done.code == (130 if command.startswith("sweep") else 0), f"{command}: {done.out}{done.err}"
            assert "my_parts" not in done.err, done.err
            if command.startswith("report"):
                assert "strength" in done.out
    trials = {trial.name: result_of(trial) for trial in run.glob("trials/*")}
    assert {name: (result["status"], result["epochs"]) for name, result in trials.items()} == {
        "0000": ("completed", 2),
        "0001": ("completed", 2),
    }
    strengths = [json.loads(file.read_text())["choices"] for file in sorted(run.glob("trials/*/trial.json"))]
    assert [set(choices.values()) for choices in strengths] == [{0}, {1}], "what the searcher proposes"
    rows = [json.loads((run / f"trials/{n}/metrics.jsonl").read_text().splitlines()[-1]) for n in ("0000", "0001")]
    assert rows[0]["arch_weights"] != rows[1]["arch_weights"], "the remedy's strength changes alpha"
    for trial in (*run.glob("trials/*"), *run.glob("evaluations/*"), project / "runs/one/trials/0000"):
        *epochs, end = (trial / "lines.txt").read_text().splitlines()
        assert epochs[0] == "epoch 1"
        assert end == "completed"
    assert [row["depth"] for row in rows] == [1, 1], "the health check switches its probe on"
    kept = json.loads((run / "run.json").read_text())["spec"]["ranked"]
    assert (kept["name"], kept["metric"], kept["healthy"]) == ("my_parts:HealthyAlpha", "alpha_accuracy", True)
    assert {"name": "my_parts:NotDeep", "column": "depth", "most": 3.0, "least": None} in kept["health"]
    genotype = json.loads((project / "runs/one/genotype.json").read_text())
    assert genotype["space"] == "my_parts:Small"
    assert {edge[0] for cell in ("normal", "reduce") for edge in genotype[cell]} <= {"skip_connect", "sep_conv_3x3"}
    decided = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert {event["decision"] for event in decided if event["event"] == "decide"} == {"continue"}


def test_the_scheduler_of_the_page_stops_trials(project: Path) -> None:
    with sweeps_run_here():
        done = run_here(
            *[
                "sweep",
                "parts.yaml",
                "--name",
                "low",
                "--set",
                "sweep.scheduler.least=2",
                "--set",
                "evaluate=null",
                "--set",
                "search.epochs=3",
            ],
            cwd=project,
        )
    assert done.code == 0, done.err
    trials = [result_of(trial) for trial in (project / "runs/low").glob("trials/*")]
    assert [(result["status"], result["epochs"]) for result in trials] == [("stopped", 2)] * 2


def test_the_table_of_the_page_names_a_class_of_each_family() -> None:
    table = [row.split(" | ")[0].strip("| ") for row in PAGE.splitlines() if row.startswith("| ")][1:]
    assert tuple(table) == FAMILIES
    for family in FAMILIES:
        assert re.search(rf"\n## An? {family}\n", PAGE)


def test_the_health_check_of_the_page_ranks_a_cell_behind(project: Path) -> None:
    sets = ["sweep.health={'my_parts:NotDeep': {most: 0}}", "evaluate.top_k=2"]
    with sweeps_run_here():
        command = ["sweep", "parts.yaml", "--name", "deep", *(word for each in sets for word in ("--set", each))]
        assert run_here(*command, cwd=project).code == 0
    report = run_here("report", "runs/deep", cwd=project)
    assert "my_parts:NotDeep is 1, at most 0 is allowed" in " ".join(report.out.split())
