"""The search as a source of trials: what the searcher proposes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from raydarts.errors import SpecError
from raydarts.execution import drive
from raydarts.genotypes.genotype import describe_genotype
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.runs.results import TrialRecord, read_trial
from raydarts.runs.score import Score
from raydarts.storage.files import plain
from raydarts.sweep.schedulers.base import replay
from raydarts.sweep.searchers.base import Outcome, Searcher

logger = logging.getLogger("raydarts")


class SearchStage:
    """Stage 1. Every ask and tell is an event on disk; opening a run replays them into the searcher.

    Order on disk: the ask event with the whole configuration, then trial.json, then the trial is run,
    then its result.json, then the tell event. A kill between any two is made good here.
    """

    def __init__(self, run: RunDirectory, loaded: Any, searcher: Searcher) -> None:
        self._run = run
        self._loaded = loaded
        self._searcher = searcher
        self.score: Score = loaded.sweep.score
        searcher.start(loaded)
        self._asked = 0
        told = self._replay()
        asked = [run.trial(index) for index in range(self._asked)]
        for index, trial in enumerate(asked):
            if index not in told and trial.result() is not None:
                self._tell(index, read_trial(trial))
        self._waiting = [trial for trial in asked if trial.result() is None]

    def _replay(self) -> set[int]:
        told: set[int] = set()
        for event in self._run.events():
            index = int(event["index"])
            if event["event"] == "report":
                continue
            if event["event"] == "tell":
                self._searcher.tell(index, Outcome.from_json(event["outcome"]))
                told.add(index)
                continue
            draw = self._searcher.propose(index)
            if draw is None or plain(draw.choices) != event["choices"]:
                logger.warning("trial %04d: the searcher now proposes otherwise; the recorded one is kept", index)
            self._asked = index + 1
            if not self._run.trial(index).exists:
                self._run.trial(index).create(_description(event))
        return told

    def total(self) -> int:
        return max(self._searcher.total(), self._asked)

    def remaining(self) -> int:
        return len(self._waiting) + self.total() - self._asked

    def next_trial(self) -> TrialDirectory | None:
        if self._waiting:
            return self._waiting.pop(0)
        while (draw := self._searcher.propose(self._asked)) is not None:
            trial, error = self._write_down(draw)
            if error is None:
                return trial
            drive.fail(trial, error)
            self._tell(int(trial.id), read_trial(trial))
        return None

    def _write_down(self, draw: Any) -> tuple[TrialDirectory, SpecError | None]:
        """The next trial on disk. A draw that no search can be built from is one too, and fails."""
        problem: SpecError | None = None
        try:
            config = self._loaded.settings_of(draw).model_dump(mode="json")
        except SpecError as error:
            config, problem = plain(draw.plain), error
        event = {"event": "ask", "index": self._asked, "choices": plain(draw.choices), "config": config}
        self._run.append_event(event)
        trial = self._run.trial(self._asked)
        self._asked += 1
        trial.create(_description(event))
        return trial, problem

    def reported(self, trial: TrialDirectory, epoch: int) -> None:
        self._run.append_event({"event": "report", "index": int(trial.id), "epoch": epoch})

    def ended(self, record: TrialRecord) -> None:
        self._tell(int(record.description["index"]), record)

    def _tell(self, index: int, record: TrialRecord) -> None:
        reports = [
            (int(row["epoch"]), value)
            for row in record.rows
            if (value := self.score.of(row)) is not None and row.get("epoch") is not None
        ]
        outcome = Outcome(record.status, record.value(self.score), reports)
        self._searcher.tell(index, outcome)
        self._run.append_event({"event": "tell", "index": index, "outcome": outcome.to_json()})


def _description(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "search", "index": event["index"], "config": event["config"], "choices": event["choices"]}


def refill(run: RunDirectory, scheduler: Any) -> None:
    """Give a new scheduler the memory of the old one, from the rows on disk in the order of the events.

    A row that the old driver had no time to decide upon is decided now.
    """
    rows = {trial.id: {row["epoch"]: row for row in trial.rows()} for trial in run.trials()}
    shown: list[tuple[str, Mapping[str, Any]]] = []
    for event in run.events():
        name = run.trial(event["index"]).id
        if event["event"] == "report" and event["epoch"] in rows.get(name, {}):
            shown.append((name, rows[name].pop(event["epoch"])))
        elif event["event"] == "tell":
            shown.extend((name, row) for row in rows.pop(name, {}).values())
    replay(scheduler, shown)
    for name, decision in replay(scheduler, _undecided(rows)).items():
        trial = run.trial(int(name))
        if decision == "STOP" and trial.result() is None:
            trial.claim()
            drive.stop(trial, describe_genotype)


def _undecided(rows: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, row) for name, left in rows.items() for row in left.values())
