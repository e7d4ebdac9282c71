"""What the user sees while a sweep runs: live progress in a terminal and in a notebook, a line per event elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.live import Live

from raydarts.json_types import number, section, whole
from raydarts.live import CellLive, live
from raydarts.report.progress import ProgressView
from raydarts.runs.progress import facts_of
from raydarts.study.blame import Ended, blame
from raydarts.study.forecast import Forecast, Span, StageState, TrialState, clock, forecast
from raydarts.study.objectives import Score, SearchScore
from raydarts.study.pareto import Point, fronts
from raydarts.study.progress import Facts, Progress, progress_of
from raydarts.study.random_cells import is_random
from raydarts.study.results import TrialRecord
from raydarts.study.settings_words import in_words, labelled
from raydarts.study.stages import SEARCH
from raydarts.terminal import CleanConsole

_OLDEST = 2.0
"""Seconds for which a forecast is shown. Where it takes long to make, it is shown for longer."""
_SHARE = 0.05
"""Of a core, what forecasts may take."""
_MOST_NAMED = 8


def _figure(record: TrialRecord, score: Score) -> str:
    """A figure of a trial with its name. Large numbers have no decimals."""
    value = record.value(score)
    shown = "unknown" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4f}"
    return f"{score.metric} {shown}"


class Display:
    """Told of every trial's start, epochs and end. `enabled` false: shows nothing."""

    def __init__(self, score: Score, enabled: bool = True, console: Console | None = None, title: str = "") -> None:
        self._console = console or CleanConsole()
        self._enabled = enabled
        self._live: Live | CellLive | None = None
        self._lock = threading.RLock()
        self._title = title
        self._begun = time.time()
        self._stages: dict[str, StageState] = {}
        self._trials: dict[str, dict[str, TrialState]] = {}
        self._since: dict[str, float] = {}
        self._descriptions: dict[str, Mapping[str, object]] = {}
        self._facts: dict[str, Facts] = {}
        self._told: tuple[float, Forecast] | None = None
        self.spent: Callable[[], str] = str
        """Says what of the budget is spent; an empty text: there is none."""
        self.gpus: Callable[[str], float] = lambda stage: 0.0
        """Says how much of the GPUs a process of a stage is given."""
        self.begin(SEARCH, 0, score)

    def expect(self, states: Sequence[StageState]) -> None:
        """All stages of the run, as an earlier driver left them."""
        with self._lock:
            self._stages = {stage.name: stage for stage in states}
            self._trials = {stage.name: {trial.name: trial for trial in stage.trials} for stage in states}

    def begin(self, stage: str, total: int, score: Score) -> None:
        """A stage of `total` trials begins."""
        with self._lock:
            self._stage, self._total, self._score = stage, total, score
            known = self._stages.get(stage, StageState(stage, total, 1))
            self._stages[stage] = replace(known, total=total)
            self._trials.setdefault(stage, {})
            self._counts = {"completed": 0, "stopped": 0, "failed": 0}
            self._ended_trials: dict[str, Ended] = {}
            self._since.clear()
            self._best: tuple[float, str] | None = None
            self._points: dict[str, Point] = {}  # the completed trials of a search with several objectives
            self._told = None

    def grow(self, total: int) -> None:
        """The stage now has so many trials."""
        with self._lock:
            self._total = total
            self._stages[self._stage] = replace(self._stages[self._stage], total=total)

    def __enter__(self) -> Display:
        if self._enabled and (shown := live(self._console, self._panel)) is not None:
            self._live = shown
            shown.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
            self._live = None

    def say(self, text: str) -> None:
        if self._enabled:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started(self, trial: str, description: Mapping[str, object] | None = None) -> None:
        """A trial has a place. `description`: its trial.json."""
        with self._lock:
            self._since[trial] = time.time()
            self._descriptions[trial] = description or {}
            self._facts[trial] = facts_of(self._descriptions[trial], {}, self._score, "", 0.0)
            index = whole(self._descriptions[trial].get("index"), len(self._trials[self._stage]))
            before = self._trials[self._stage].get(trial)
            most = self._stages[self._stage].most
            state = TrialState(trial, "running", 0, most, index=index) if before is None else before
            self._trials[self._stage][trial] = replace(state, state="running")

    def epoch(self, trial: str, epoch: int, row: Mapping[str, object] | None = None) -> None:
        """A trial has ended an epoch. `row`: its figures, with `timing`, a line of times.jsonl."""
        figures = row or {}
        timing = section(figures.get("timing"))
        with self._lock:
            now, since = time.time(), self._since.get(trial, time.time())
            self._since[trial] = now
            host, process = str(timing.get("host", "")), f"{timing.get('host', '')}:{timing.get('pid', '')}"
            start, end = number(timing.get("start")), number(timing.get("end"))
            span = Span(since, now) if start is None or end is None else Span(start, end, process)
            known = self._trials[self._stage].get(trial) or TrialState(trial, "running", 0, self._most)
            most = max(whole(timing.get("of"), known.most), epoch)
            self._trials[self._stage][trial] = replace(
                known, state="running", epochs=epoch, most=most, spans=[*known.spans, span]
            )
            lanes = max(whole(timing.get("lanes"), 1), 1)
            described = self._descriptions.get(trial, {})
            self._facts[trial] = facts_of(described, figures, self._score, host, self.gpus(self._stage) / lanes)

    @property
    def _most(self) -> int:
        return self._stages[self._stage].most

    def known(self, record: TrialRecord) -> None:
        """A trial that an earlier driver finished."""
        with self._lock:
            self._counts[record.status] += 1
            self._note_end(record)
            self._consider(record)

    def finished(self, record: TrialRecord) -> None:
        trial, status = record.id, record.status
        error, reason = record.result.get("error"), record.result.get("reason")
        with self._lock:
            self._since.pop(trial, None)
            self._counts[status] += 1
            self._note_end(record)
            self._consider(record)
        shown = error if error else ", ".join(_figure(record, each) for each in self._score.each)
        shown += f"; {reason}" if reason and not error else ""
        if status == "failed":
            shown += self._why(record)
        if self._live is None or status == "failed":
            self.say(f"[{self._stage} {self._ended}/{self._total}] trial {trial} {status}: {shown}")

    def _why(self, record: TrialRecord) -> str:
        """The swept settings of a failed trial, and the one it stands out by."""
        settings = _settings(record)
        blamed = blame(settings, list(self._ended_trials.values()))
        return (f"; its settings: {in_words(settings)}" if settings else "") + (f"; {blamed}" if blamed else "")

    def _note_end(self, record: TrialRecord) -> None:
        known = self._trials[self._stage].get(record.id) or TrialState(record.id, "ended", 0, self._most)
        epochs = max(record.epochs, 0)
        self._trials[self._stage][record.id] = replace(
            known, state="ended", epochs=epochs, most=max(known.most, epochs), age=0.0
        )
        self._ended_trials[record.id] = Ended(_settings(record), record.status == "failed")
        self._facts.pop(record.id, None)
        self._descriptions.pop(record.id, None)

    def halted(self, trial: str) -> None:
        """A trial was stopped for now, without a result."""
        self._set_aside(trial, "halted")

    def paused(self, trial: str) -> None:
        """A scheduler lets a trial wait."""
        self._set_aside(trial, "paused")

    def forked(self, trial: str) -> None:
        """A trial goes on as a copy of another, when a place is free."""
        self._waits(trial)

    def tell(self, sentence: str) -> None:
        """Say something on a trial."""
        self.say(f"[{self._stage} {self._ended}/{self._total}] {sentence}")

    def _set_aside(self, trial: str, why: str) -> None:
        epoch = self._waits(trial)
        self.say(f"[{self._stage} {self._ended}/{self._total}] trial {trial} {why} after epoch {epoch}")

    def _waits(self, trial: str) -> int:
        """A trial has no place for now. Returns how many epochs it has run."""
        with self._lock:
            self._since.pop(trial, None)
            known = self._trials[self._stage].get(trial)
            if known is None:
                return 0
            self._trials[self._stage][trial] = replace(known, state="waiting", age=0.0)
            return known.epochs

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

    def _states(self) -> list[StageState]:
        """All stages now. A trial that waits for its first epoch has run as long as it has had its place."""
        now = time.time()
        states = []
        for name, stage in self._stages.items():
            trials = [
                replace(trial, age=max(0.0, now - self._since.get(trial.name, now)))
                if trial.state == "running" and name == self._stage
                else trial
                for trial in self._trials.get(name, {}).values()
            ]
            running, ended = (sum(trial.state == state for trial in trials) for state in ("running", "ended"))
            places = running if running and running + ended < stage.total else max(stage.places, running)
            states.append(replace(stage, trials=trials, places=places))
        return states

    def progress(self) -> Progress:
        """How far the run is now."""
        with self._lock:
            states = self._states()
            running = sum(trial.state == "running" for trial in self._trials[self._stage].values())
            counts: dict[str, Mapping[str, int]] = {self._stage: {**self._counts, "running": running}}
            for stage in states:
                if stage.name != self._stage:
                    counts[stage.name] = {"completed": stage.ended}
            facts, best, spent = dict(self._facts), self._best_so_far(), self.spent()
        notes = {"best so far": best, "budget spent": spent}
        title = f"{self._title + ': ' if self._title else ''}{self._stage}, {clock(time.time() - self._begun)} elapsed"
        return progress_of(title, states, counts, facts, notes, self._forecast(states))

    def _forecast(self, states: Sequence[StageState]) -> Forecast:
        began = time.monotonic()
        if self._told is not None and began < self._told[0]:
            return self._told[1]
        told = forecast(states)
        took = time.monotonic() - began
        self._told = (began + max(_OLDEST, took / _SHARE), told)
        return told

    def _panel(self) -> RenderableType:
        return ProgressView(self.progress())


def _settings(record: TrialRecord) -> dict[str, object]:
    """A search trial's swept settings by their labels; none of a retraining."""
    description = record.description
    return labelled(section(description.get("choices")), section(description.get("config")))
