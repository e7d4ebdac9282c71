"""Each file of a finished run damaged in each way: every command ends with words, and the file is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raydarts.errors import ClusterError
from raydarts.sweeping import runner
from tests.commands import Outcome, run_here

FINISHED = Path(__file__).parent.parent / "fuzz" / "finished"
FILES = (
    "run.json",
    "status.json",
    "events.jsonl",
    "plan.json",
    "drivers.json",
    "promotion.json",
    "stages/rung-1/promotion.json",
    "trials/0001/trial.json",
    "trials/0001/result.json",
    "trials/0001/metrics.jsonl",
    "trials/0001/times.jsonl",
    "evaluations/c6830f5936-seed3/result.json",
)
RESUME_ALONE = {"events.jsonl"}
"""Read by `resume` and by no report."""


def of_wrong_type(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "a text" if isinstance(item, int | float | list | dict) else 7 for key, item in value.items()}
    return [3 for _ in value]


def retype(file: Path) -> None:
    """Every value of the file's first record gets another type."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    lines[0] = json.dumps(of_wrong_type(json.loads(lines[0])))
    file.write_text("\n".join(lines) + "\n")


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def put(text: str) -> Callable[[Path], None]:
    """A line more in a file of lines; the whole text of any other."""

    def damage(file: Path) -> None:
        before = file.read_text() if file.suffix == ".jsonl" else ""
        file.write_text(f"{before}{text}\n")

    return damage


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "null": put("null"),
    "folder": replace_by_folder,
    "deep": put("[" * 99_999),
    "wrong types": retype,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run; what would start Ray ends at once."""

    def no_ray(*_arguments: object) -> bool:
        raise ClusterError("this test starts no Ray")

    monkeypatch.setattr(runner, "connected", no_ray)
    path = tmp_path / "run"
    shutil.copytree(FINISHED, path)
    return path


def names(outcome: Outcome, file: Path) -> bool:
    """Whether the file stands in the errors, as FILE: or FILE:LINE:."""
    return re.search(rf"{re.escape(str(file))}(:\d+)?: ", outcome.err) is not None


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_nothing_ends_in_a_traceback(name: str, damage: str, run: Path) -> None:
    DAMAGE[damage](run / name)
    told = [run_here(command, run) for command in ("status", "report")]
    assert all(each.code in (0, 1, 2) for each in told)
    if name not in RESUME_ALONE:
        assert any(each.code != 0 and names(each, run / name) for each in told), told
    resumed = run_here("resume", run)
    assert resumed.code == 2
    assert names(resumed, run / name), resumed


def test_a_lost_trial_json_is_not_passed_over_in_silence(run: Path) -> None:
    (run / "trials" / "0001" / "trial.json").unlink()
    reported = run_here("report", run)
    assert reported.code == 1
    assert f"{run}/trials/0001: holds no trial.json" in reported.err


@pytest.mark.parametrize(
    "earlier",
    [
        5,
        {"known": 3, "lines": []},
        {"known": [{"choices": {}, "value": "high"}], "lines": []},
        {"known": [{"choices": {"search.nowhere": 0.1}, "value": 0.9}], "lines": ["one"]},
    ],
)
def test_damaged_results_of_earlier_runs_are_named(earlier: Any, run: Path) -> None:
    description = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(description | {"earlier": earlier}))
    resumed = run_here("resume", run)
    assert resumed.code == 2
    assert names(resumed, run / "run.json"), resumed
    assert "earlier" in resumed.err
