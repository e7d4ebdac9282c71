"""A tracker of one's own for the contract test: writes into a folder, and fails or hangs where its settings say so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from raydarts import registry
from raydarts.runs.directory import RunDirectory, TrialDirectory
from raydarts.storage.place import Place
from raydarts.trackers.base import Tracker, TrialObserver

PATIENCE = 0.3


class Faulty(Tracker):
    """Writes each epoch's number into TRIAL/journal."""

    NAME = "faulty"
    SOURCE = "test"
    seconds = PATIENCE

    class Settings(registry.Settings):
        where: str = ""
        fault: Literal["raises", "hangs"] = "raises"

    def fail(self, where: str) -> None:
        if where == self.settings.where and self.settings.fault == "hangs":
            time.sleep(30)
        if where == self.settings.where:
            raise ConnectionError("the service is away")

    def check(self, place: Place) -> None:
        self.fail("check")

    def begin(self, run: RunDirectory) -> str:
        self.fail("begin")
        return "begun"

    def observer(self, trial: TrialDirectory) -> TrialObserver:
        self.fail("observer")
        assert isinstance(trial.path, Path)
        return Page(self, trial.path / "journal")

    def conclude(self, run: RunDirectory) -> str:
        self.fail("conclude")
        return "concluded"


class Page(TrialObserver):
    seconds = PATIENCE
    lost_seconds = PATIENCE

    def __init__(self, tracker: Faulty, file: Path) -> None:
        self._tracker = tracker
        self._file = file

    def open(self) -> None:
        self._tracker.fail("open")
        self._file.write_text("")

    def epoch(self, row: Mapping[str, object]) -> None:
        self._tracker.fail("epoch")
        self._add(str(row["epoch"]))

    def finished(self, result: Mapping[str, object]) -> None:
        self._tracker.fail("finished")
        self._add(str(result["status"]))

    def close(self) -> None:
        self._tracker.fail("close")

    def lost(self, reason: str) -> str:
        self._tracker.fail("lost")
        return f"{reason}: saved elsewhere"

    def _add(self, line: str) -> None:
        with self._file.open("a") as file:
            file.write(f"{line}\n")
