"""The display: a panel in a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re

from rich.console import Console

from raydarts.study.forecast import StageState
from raydarts.study.objectives import ACCURACY
from raydarts.study.results import TrialRecord
from raydarts.sweeping.display import Display
from raydarts.terminal import CleanConsole


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


def lines_of(shown: Display, width: int = 200, height: int = 40) -> list[str]:
    console = CleanConsole(file=io.StringIO(), width=width, height=height)
    console.print(shown._panel())
    output = console.file
    assert isinstance(output, io.StringIO)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_in_a_terminal_the_panel_tells_how_far_it_is() -> None:
    text = told(Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None))
    assert "2/3 1 running, 1 failed" in text
    assert re.search(r"0002\s+7/7", text)
    assert "validation_accuracy 0.2500 (trial 0000)" in text
    assert "left" in text


def row(epoch: int, start: float, **more: object) -> dict[str, object]:
    timing = {"epoch": epoch, "start": start, "end": start + 10, "host": "node-1", "pid": 7, "of": 5, **more}
    return {"epoch": epoch, "validation_accuracy": 0.5 + epoch / 100, "timing": timing}


def test_a_running_trial_has_a_row_with_its_settings_its_figure_its_host_and_its_time_left() -> None:
    shown = Display(ACCURACY, True, CleanConsole(file=io.StringIO()))
    shown.gpus = lambda stage: 1.0
    shown.expect([StageState("search", 2, 5), StageState("evaluate", 4, 20, 2)])
    shown.begin("search", 2, ACCURACY)
    choices = {
        "search.estimator": "second",
        "search.estimator[second].xi": 0.123456,
        "search.regularizers.0.strength": 3,
    }
    shown.started("0000", {"index": 0, "choices": choices, "config": {"regularizers": [{"name": "beta_decay"}]}})
    for epoch in (1, 2):
        shown.epoch("0000", epoch, row(epoch, 10.0 * epoch, lanes=4))
    (line,) = [line for line in lines_of(shown) if line.startswith("0000")]
    assert "xi 0.1235, beta_decay.strength 3, estimator second" in line
    assert line.split()[-5:] == ["2/5", "0.5200", "node-1", "0.25", "0:00:30"] or line.split()[-1] == "0:00:29"
    text = "\n".join(lines_of(shown))
    assert "time left: " in text
    assert "without evaluate, of which no epoch was timed yet" in text


def test_the_panel_is_never_higher_than_the_terminal_and_says_how_many_trials_it_leaves_out() -> None:
    shown = Display(ACCURACY, True, CleanConsole(file=io.StringIO()))
    shown.expect([StageState("search", 100, 5)])
    shown.begin("search", 100, ACCURACY)
    for number in range(64):
        shown.started(f"{number:04d}", {"index": number, "choices": {"search.lr": number}})
        shown.epoch(f"{number:04d}", 1, row(1, 0.0))
    for height in (12, 24, 50):
        lines = lines_of(shown, 80, height)
        assert len(lines) < height
        assert max(map(len, lines)) <= 80
        here = sum("1/5" in line for line in lines)
        assert f"{64 - here} more" in lines


def test_hostile_text_reaches_no_terminal() -> None:
    shown = Display(ACCURACY, True, CleanConsole(file=io.StringIO()))
    shown.begin("search", 1, ACCURACY)
    shown.started("0000", {"index": 0, "choices": {"search.space": "\x1b[31m[red]x\u202e"}})
    shown.epoch("0000", 1, row(1, 0.0, host="h\x9bx"))
    text = "\n".join(lines_of(shown))
    assert not {"\x1b", "\x9b", "\u202e"} & set(text)
    assert "\\x1b[31m[red]x\\u202e" in text
    assert "h\\x9bx" in text


def test_a_failed_trial_is_told_with_its_settings_and_what_it_stands_out_by() -> None:
    console = Console(file=io.StringIO(), width=300)
    with Display(ACCURACY, True, console) as shown:
        shown.begin("search", 13, ACCURACY)
        for number in range(12):
            status = "failed" if number > 8 else "completed"
            result = {"error": "the loss is not finite in epoch 3"} if status == "failed" else {}
            described = {"choices": {"search.lr": 0.1 * (number + 1)}}
            shown.finished(TrialRecord(f"{number:04d}", status, described, [], result))  # type: ignore[arg-type]
    output = console.file
    assert isinstance(output, io.StringIO)
    assert output.getvalue().splitlines()[-1] == (
        "[search 12/13] trial 0011 failed: the loss is not finite in epoch 3; its settings: lr 1.2; "
        "lr 1.2 is the largest of 12 trials, of which the 3 largest failed"
    )
    assert "largest" not in output.getvalue().splitlines()[9], "one failure of ten stands out by nothing"
