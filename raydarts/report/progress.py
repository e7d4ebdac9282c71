"""A run's progress for a terminal: a bar a stage, the running trials as far as there is room, the time left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table

from raydarts.runs.progress import Left, left_of
from raydarts.study.forecast import Range, clock, in_words
from raydarts.study.progress import Progress, RunningTrial, StageProgress
from raydarts.terminal import clean, line

_BAR = 24
_NARROW = 100
"""Columns below which bars are shorter."""
_COUNTED = 2
"""The column that says how many trials have ended. It is never cut."""
_FEWEST = 1
"""Running trials that are shown at least, however low the terminal is."""


@dataclass(frozen=True)
class ProgressView:
    """What is shown of a run's progress. It is never higher than the terminal."""

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress, width = self.progress, options.max_width
        height = options.height or console.size.height
        texts = [f"{name}: {text}" for name, text in progress.notes.items() if text]
        told = time_left(progress)
        stages = list(_stages(progress, width))
        used = 1 + len(stages) + sum(-(-len(clean(text)) // width) for text in (told, *texts))
        room = max(height - 1 - used - 2, _FEWEST)  # a line stays free for the cursor; two are the table's head
        yield line(clean(progress.title)[:width])
        table = Table.grid(padding=(0, 1))
        for place in range(5):
            least = max(len(str(row[place])) for row in stages) if place == _COUNTED else None
            table.add_column(no_wrap=True, overflow="ellipsis", min_width=least)
        for row in stages:
            table.add_row(*row)
        yield table
        yield line(told)
        if progress.running:
            yield from _running(progress.running, room, width)
        yield from map(line, texts)


def _stages(progress: Progress, width: int) -> Iterator[tuple[RenderableType, ...]]:
    narrow = width < _NARROW
    bar = _BAR // 3 if narrow else _BAR
    for stage in progress.stages:
        yield (
            line(stage.name),
            ProgressBar(total=1.0, completed=stage.share, width=bar),
            line(f"{ended(stage)}/{stage.total}"),
            line(_counts(stage, narrow)),
            line(_left(stage, progress.at_work, narrow)),
        )


def ended(stage: StageProgress) -> int:
    """How many trials of a stage have ended."""
    return sum(stage.counts.get(status, 0) for status in ("completed", "stopped", "failed"))


_SHORT = {"running": "run", "stopped": "stop", "failed": "fail"}


def _counts(stage: StageProgress, narrow: bool) -> str:
    """Trials by status, as far as there are any."""
    shown = {name: stage.counts.get(name, 0) for name in _SHORT}
    return ", ".join(f"{count} {_SHORT[name] if narrow else name}" for name, count in shown.items() if count)


def _left(stage: StageProgress, at_work: str | None, narrow: bool) -> str:
    if stage.done:
        return "done"
    if stage.left is None:
        return "not timed yet"
    return f"{in_words(stage.left)}{' left' if stage.name == at_work and not narrow else ''}"


def time_left(progress: Progress) -> str:
    """The time that all stages still take, and which of them are not in it."""
    if progress.at_work is None:
        return "all stages are done"
    return left_in_words(left_of(progress.time_left, progress.at_work))


def left_in_words(told: Left) -> str:
    """The time left of a run's `left`, as `time_left` says it."""
    low, middle, high = told["low"], told["seconds"], told["high"]
    if low is None or middle is None or high is None:
        return "time left: unknown until an epoch has ended"
    without = f", without {', '.join(told['not_timed'])}, of which no epoch was timed yet" if told["not_timed"] else ""
    return f"time left: {in_words(Range(low, middle, high))}{without}"


def _running(trials: Sequence[RunningTrial], room: int, width: int) -> Iterator[RenderableType]:
    """The first trials that there is room for, and how many more there are."""
    shown = trials if len(trials) <= room else trials[: max(room - 1, _FEWEST)]
    columns = ["trial", "settings", "epoch", "figure", "health", "host", "GPU", "left"]
    rows = [_cells(trial) for trial in shown]
    empty = {place for place in (1, 3, 4, 5, 6) if not any(row[place] for row in rows)}
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, width=width)
    for place, name in enumerate(columns):
        if place not in empty:
            ratio = {1: 4, 4: 2, 5: 2}.get(place)
            least = {0: min(12, max(len(row[0]) for row in rows))}.get(place)
            fixed = None if ratio else max(len(name), *(len(row[place]) for row in rows))
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=ratio, min_width=least, max_width=fixed)
    for row in rows:
        table.add_row(*(line(cell) for place, cell in enumerate(row) if place not in empty))
    yield table
    if len(shown) < len(trials):
        yield line(f"{len(trials) - len(shown)} more")


def _cells(trial: RunningTrial) -> tuple[str, ...]:
    facts = trial.facts
    return (
        trial.id,
        facts.settings,
        f"{trial.epoch}/{trial.epochs}",
        facts.figure,
        facts.health,
        facts.host,
        f"{facts.gpus:.3g}" if facts.gpus else "",
        "" if trial.left is None else clock(trial.left),
    )
