"""What the user sees while a sweep runs: a live panel in a terminal, a line per trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raydarts.runs.left import clock, seconds_left
from raydarts.study.objectives import Score, SearchScore
from raydarts.study.pareto import Point, fronts
from raydarts.study.random_cells import is_random
from raydarts.study.results import TrialRecord
from raydarts.study.stages import SEARCH
from raydarts.terminal import CleanConsole

_MOST_NAMED = 8


def _figure(record: TrialRecord, score: Score) -> str:
    """A figure of a trial with its name. Large numbers have no decimals."""
    value = record.value(score)
    shown = "unknown" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4f}"
    return f"{score.metric} {shown}"


class Display:
    """Told of every trial's start, epochs and end. `enabled` false: shows nothing."""

    def __init__(self, score: Score, enabled: bool = True, console: Console | None = None) -> None:
        self._console = console or CleanConsole()
        self._enabled = enabled
        self._live: Live | None = None
        self._running: dict[str, int] = {}
        self.spent: Callable[[], str] = str
        """Says what of the budget is spent; an empty text: there is none."""
        self.begin(SEARCH, 0, score)

    def begin(self, stage: str, total: int, score: Score) -> None:
        """A stage of `total` trials begins."""
        self._stage, self._total = stage, total
        self._score = score
        self._counts = {"completed": 0, "stopped": 0, "failed": 0}
        self._running.clear()
        self._best: tuple[float, str] | None = None
        self._points: dict[str, Point] = {}
        """The completed trials of a search with several objectives."""
        self._started = time.monotonic()
        self._since: dict[str, float] = {}
        self._durations: list[float] = []

    def expect(self, total: int) -> None:
        """The stage now has so many trials."""
        self._total = total

    def __enter__(self) -> Display:
        if self._enabled and self._console.is_terminal:
            self._live = Live(get_renderable=self._panel, console=self._console, refresh_per_second=2)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    def say(self, text: str) -> None:
        if self._enabled:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, trial: str) -> None:
        self._running[trial] = 0
        self._since[trial] = time.monotonic()

    def epoch(self, trial: str, epoch: int) -> None:
        self._running[trial] = epoch

    def known(self, record: TrialRecord) -> None:
        """A trial that an earlier driver finished."""
        self._counts[record.status] += 1
        self._consider(record)

    def finished(self, record: TrialRecord) -> None:
        trial, status = record.id, record.status
        error, reason = record.result.get("error"), record.result.get("reason")
        self._running.pop(trial, None)
        if trial in self._since:
            self._durations.append(time.monotonic() - self._since.pop(trial))
        self._counts[status] += 1
        self._consider(record)
        shown = error if error else ", ".join(_figure(record, each) for each in self._score.each)
        shown += f"; {reason}" if reason and not error else ""
        if self._live is None or status == "failed":
            self.say(f"[{self._stage} {self._ended}/{self._total}] trial {trial} {status}: {shown}")

    def halted(self, trial: str) -> None:
        """A trial was stopped for now, without a result."""
        self._set_aside(trial, "halted")

    def paused(self, trial: str) -> None:
        """A scheduler lets a trial wait."""
        self._set_aside(trial, "paused")

    def forked(self, trial: str) -> None:
        """A trial goes on as a copy of another, when a place is free."""
        self._running.pop(trial, None)
        self._since.pop(trial, None)

    def tell(self, sentence: str) -> None:
        """Say something on a trial."""
        self.say(f"[{self._stage} {self._ended}/{self._total}] {sentence}")

    def _set_aside(self, trial: str, why: str) -> None:
        epoch = self._running.pop(trial, 0)
        self._since.pop(trial, None)
        self.say(f"[{self._stage} {self._ended}/{self._total}] trial {trial} {why} after epoch {epoch}")

    @property
    def _ended(self) -> int:
        return sum(self._counts.values())

    def _consider(self, record: TrialRecord) -> None:
        order = record.order(self._score)
        if order is None or is_random(record.description):
            return
        if isinstance(self._score, SearchScore) and self._score.several:
            if record.status == "completed" and (numbers := record.orders(self._score)) is not None:
                self._points[record.id] = self._score.costs(numbers)
            return
        if self._best is None or self._score.better(order, self._best[0]):
            self._best = (order, f"{self._score.metric} {record.value(self._score):.4f} (trial {record.id})")

    def _best_so_far(self) -> str:
        if self._points:
            numbers = fronts(list(self._points.values()))
            first = [name for name, number in zip(self._points, numbers, strict=True) if number == 1]
            shown = ", ".join(first[:_MOST_NAMED]) + (", ..." if len(first) > _MOST_NAMED else "")
            return f"Pareto front of {len(first)} trials: {shown}"
        return "none yet" if self._best is None else self._best[1]

    def _panel(self) -> Table:
        now = time.monotonic()
        elapsed = now - self._started
        waiting = max(self._total - self._ended - len(self._running), 0)
        seconds = seconds_left(self._durations, [now - since for since in self._since.values()], waiting)
        left = "unknown" if seconds is None else clock(seconds)
        table = Table.grid(padding=(0, 2))
        table.add_row("stage", self._stage)
        done = self._counts["completed"]
        table.add_row(
            "trials",
            f"{done} done, {self._counts['stopped']} stopped, {len(self._running)} running, "
            f"{self._counts['failed']} failed, {self._total} in all",
        )
        running = ", ".join(f"{trial} (epoch {epoch})" for trial, epoch in self._running.items())
        table.add_row("running", running or "none")
        table.add_row("best so far", self._best_so_far())
        if spent := self.spent():
            table.add_row("budget", spent)
        table.add_row("elapsed", f"{clock(elapsed)}, about {left} left")
        return table
