"""What is drawn live: by rich in a terminal, into the cell in a notebook, not at all elsewhere."""

from __future__ import annotations

import io
import threading

import pytest
from rich.live import Live
from rich.text import Text

from raydarts import live as module
from raydarts.live import CellLive, live
from raydarts.study.objectives import ACCURACY
from raydarts.sweeping.display import Display
from raydarts.terminal import CleanConsole


class Handle:
    """Stands for IPython's display of one cell."""

    made: list[Handle] = []

    def __init__(self) -> None:
        self.drawings: list[dict[str, str]] = []
        self.three = threading.Event()
        self.made.append(self)

    def display(self, drawing: dict[str, str], raw: bool) -> None:
        assert raw
        assert not self.drawings
        self.drawings.append(drawing)

    def update(self, drawing: dict[str, str], raw: bool) -> None:
        assert raw
        assert self.drawings
        self.drawings.append(drawing)
        if len(self.drawings) >= 3:
            self.three.set()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> CleanConsole:
    """The console of a notebook."""
    display = pytest.importorskip("IPython.display")
    monkeypatch.setattr(display, "DisplayHandle", Handle)
    monkeypatch.setattr(Handle, "made", [])
    monkeypatch.setattr(module, "CELL_SECONDS", 0.001)
    return CleanConsole(force_jupyter=True)


def test_rich_draws_in_a_terminal_and_nothing_is_drawn_into_a_file() -> None:
    def draw() -> Text:
        return Text("")

    assert isinstance(live(CleanConsole(file=io.StringIO(), force_terminal=True), draw), Live)
    assert live(CleanConsole(file=io.StringIO()), draw) is None


def test_a_cell_is_drawn_anew_until_it_is_left_and_keeps_the_last_drawing(notebook: CleanConsole) -> None:
    words = ["first"]
    drawn = live(notebook, lambda: Text(words[0]))
    assert isinstance(drawn, CellLive)
    with drawn:
        (handle,) = Handle.made
        assert handle.drawings[0]["text/plain"].strip() == "first"
        assert handle.three.wait(30), "the thread draws"
        words[0] = "last"
    count = len(handle.drawings)
    assert handle.drawings[-1]["text/plain"].strip() == "last"
    assert not drawn._thread.is_alive()
    assert len(handle.drawings) == count


def test_a_drawing_is_html_in_which_nothing_of_a_spec_is_markup(notebook: CleanConsole) -> None:
    with CellLive(notebook, lambda: Text("<script>alert(1)</script> {0} \x1b[31m\u202e", style="bold")):
        pass
    drawing = Handle.made[0].drawings[-1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {0} \\x1b[31m\\u202e" in drawing["text/html"]
    assert "font-weight: bold" in drawing["text/html"]
    assert "<script" not in drawing["text/html"]
    assert "\x1b" not in drawing["text/plain"]


def test_it_is_as_wide_and_as_high_as_the_notebook_says(
    notebook: CleanConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_COLUMNS", "40")
    monkeypatch.setenv("JUPYTER_LINES", "9")
    with Display(ACCURACY, console=CleanConsole(force_jupyter=True), title="a run") as shown:
        shown.begin("search", 30, ACCURACY)
        for number in range(20):
            shown.started(f"{number:04d}")
    lines = Handle.made[0].drawings[-1]["text/plain"].splitlines()
    assert max(len(line) for line in lines) <= 40
    assert len(lines) <= 9
    assert "0/30" in "\n".join(lines)
    assert "more" in "\n".join(lines)
