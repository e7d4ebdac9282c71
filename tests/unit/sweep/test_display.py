"""The display: a panel in a terminal, lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from raydarts.runs.score import ACCURACY
from raydarts.sweep.display import Display


def told(console: Console, enabled: bool = True) -> str:
    with Display(ACCURACY, enabled, console) as shown:
        shown.begin("search", 3, ACCURACY)
        shown.known("0000", "completed", 0.25)
        shown.started("0001")
        shown.started("0002")
        shown.epoch("0002", 7)
        shown.finished("0001", "failed", None, "NonFiniteError: the loss [epoch 1] became nan")
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
