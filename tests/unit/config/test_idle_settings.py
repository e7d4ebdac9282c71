"""Settings that do nothing in their spec are said by `validate` and `--dry-run`, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.harness import run_command

SPEC = """
data: {dataset: digits}
search: {epochs: 10, space: {name: darts-cnn, channels: 4, layers: 3}}
sweep: {searcher: {name: random, trials: 2}, scheduler: SCHEDULER, resources: {gpus: GPUS}}
"""


@pytest.mark.parametrize("command", [["validate"], ["sweep", "--dry-run"]])
@pytest.mark.parametrize(
    ("scheduler", "gpus", "words"),
    [
        ("{name: asha, grace_period: 10}", 0, "sweep.scheduler.grace_period is 10"),
        ("{name: asha, grace_period: 12}", 0, "write scheduler: fifo"),
        ("fifo", 4, "sweep.resources.gpus is 4"),
    ],
)
def test_a_setting_that_does_nothing_is_said(
    command: list[str], scheduler: str, gpus: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("SCHEDULER", scheduler).replace("GPUS", str(gpus)))
    done = run_command([*command, spec])
    assert done.code == 0, done.err
    assert "does nothing: " in done.out
    assert words in done.out


def test_a_setting_that_acts_is_not_called_idle(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("SCHEDULER", "{name: asha, grace_period: 9}").replace("GPUS", "1"))
    done = run_command(["validate", spec])
    assert done.code == 0, done.err
    assert "does nothing" not in done.out
