"""What changes while one looks at it: drawn again and again in a terminal, or in the output of a notebook's cell.

rich draws in a terminal. In a notebook it needs ipywidgets, so here the cell's display is written anew, which every
notebook can do. What is drawn is the same in both.
"""

from __future__ import annotations

import contextvars
import io
import threading
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.jupyter import JUPYTER_HTML_FORMAT
from rich.live import Live

from raydarts.terminal import CleanConsole

PER_SECOND = 2.0
"""How often a terminal is drawn."""
CELL_SECONDS = 1.0
"""Seconds between two drawings in a notebook, each of which is sent to the browser."""


class CellLive:
    """Draws what `draw` returns into the output of the cell that runs, again and again until it is left.

    The cell keeps the last drawing. `console` says how wide and how high a drawing may be: 115 columns and 100 lines,
    or what JUPYTER_COLUMNS and JUPYTER_LINES say.
    """

    def __init__(self, console: Console, draw: Callable[[], RenderableType]) -> None:
        self._size = console.size
        self._draw = draw
        self._left = threading.Event()

    def __enter__(self) -> CellLive:
        from IPython.display import DisplayHandle  # noqa: PLC0415 - in a notebook it is there

        self._handle = DisplayHandle()
        self._handle.display(self._drawing(), raw=True)
        # The context says which cell runs: what the thread sends belongs to that cell.
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._go_on,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._thread.join()
        self._handle.update(self._drawing(), raw=True)

    def _go_on(self) -> None:
        while not self._left.wait(CELL_SECONDS):
            self._handle.update(self._drawing(), raw=True)

    def _drawing(self) -> dict[str, str]:
        """HTML for a notebook, and plain text for what shows no HTML."""
        console = CleanConsole(
            record=True,
            file=io.StringIO(),
            width=self._size.width,
            height=self._size.height,
            color_system="truecolor",
            force_terminal=True,
            force_jupyter=False,
            legacy_windows=False,
        )
        console.print(self._draw())
        html = console.export_html(inline_styles=True, clear=False, code_format=JUPYTER_HTML_FORMAT)
        return {"text/html": html, "text/plain": console.export_text()}


def live(console: Console, draw: Callable[[], RenderableType]) -> Live | CellLive | None:
    """Returns what draws live on this console while it is entered. None: neither a terminal nor a notebook."""
    if console.is_jupyter:
        return CellLive(console, draw)
    if console.is_terminal:
        return Live(get_renderable=draw, console=console, refresh_per_second=PER_SECOND, vertical_overflow="crop")
    return None
