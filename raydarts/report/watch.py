"""`raydarts status --watch`: shows the status again and again until the run ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live

from raydarts.report.status import progress_view, status_json, status_table
from raydarts.runs.reading import Damage
from raydarts.storage.place import Place

_ENDED = ("completed", "failed", "interrupted", "halted")
_CHANGING = ("left",)
"""Values that change every time and are no news."""


def shown_of(path: Place, status: str) -> RenderableType:
    """While the run goes on its progress, afterwards how it ended."""
    return status_table(path, Damage()) if status in _ENDED else progress_view(path, Damage())


def follow(path: Place, console: Console, every: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Shows the status every `every` seconds until the run has ended or Ctrl-C is pressed.

    If the output is no terminal, it prints a table only when something other than the time left has changed.
    """
    shown = None
    with Live(console=console, auto_refresh=False, transient=False) as live:
        try:
            while True:
                status = status_json(path, Damage())
                stands = {key: value for key, value in status.items() if key not in _CHANGING}
                if console.is_terminal:
                    live.update(shown_of(path, status["status"]), refresh=True)
                elif stands != shown:
                    console.print(status_table(path, Damage()))
                shown = stands
                if status["status"] in _ENDED:
                    return
                sleep(every)
        except KeyboardInterrupt:
            return
