"""The display: a panel in a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from raydarts.runs.left import seconds_left
from raydarts.study.objectives import ACCURACY
from raydarts.study.results import TrialRecord
from raydarts.sweep.display import Display


def record(trial: str, status: str, value: float | None = None, **result: object) -> TrialRecord:
    rows = [] if value is None else [{"epoch": 1, "validation_accuracy": value}]
    return TrialRecord(trial, status, {}, rows, result)


def told(console: Console, enabled: bool = True) -> str:
    with Display(ACCURACY, enabled, console) as shown:
        shown.begin("search", 3, ACCURACY)
        shown.known(record("0000", "completed", 0.25))
        shown.started("0001")
        shown.started("0002")
        shown.epoch("0002", 7)
        shown.finished(record("0001", "failed", error="NonFiniteError: the loss [epoch 1] became nan"))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_without_a_terminal_each_trial_is_a_line() -> None:
    text = told(Console(file=io.StringIO(), width=200))
    assert text == "[search 2/3] trial 0001 failed: NonFiniteError: the loss [epoch 1] became nan\n"
    assert told(Console(file=io.StringIO()), enabled=False) == ""


def test_in_a_terminal_the_panel_tells_how_far_it_is() -> None:
    text = told(Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None))
    assert "1 done, 0 stopped, 1 running, 1 failed, 3 in all" in text
    assert "0002 (epoch 7)" in text
    assert "validation_accuracy 0.2500 (trial 0000)" in text
    assert "left" in text


def test_the_time_left_counts_what_runs_and_the_places_there_are() -> None:
    assert seconds_left([], [3.0], 5) is None
    assert seconds_left([10.0, 20.0], [12.0], 0) == 3.0, "the last trial of a stage: what is left of it"
    assert seconds_left([15.0], [12.0, 5.0], 0) == 10.0
    assert seconds_left([15.0], [12.0, 5.0], 3) == 33.0, "places are free after 3 and 10 s, then at 18, 25 and 33 s"
    assert seconds_left([15.0], [40.0], 0) == 0.0


def test_near_the_end_of_a_stage_the_panel_tells_what_is_left_of_its_last_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.0, 0.0, 60.0, *[108.0] * 20])
    monkeypatch.setattr("raydarts.sweep.display.time.monotonic", lambda: next(clock))
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    shown = Display(ACCURACY, True, console)
    shown.begin("search", 2, ACCURACY)
    shown.started("0000")
    shown.finished(record("0000", "completed", 0.5))
    shown.started("0001")
    monkeypatch.setattr("raydarts.sweep.display.time.monotonic", lambda: 156.0)
    console.print(shown._panel())
    assert "about 0:00:12 left" in console.file.getvalue()  # type: ignore[attr-defined]
