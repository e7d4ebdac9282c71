"""TensorBoard: each trial's metrics over epochs as an event file in its folder."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from raydarts.errors import InputError
from raydarts.runs.directory import TrialDirectory
from raydarts.storage.inside import Inside
from raydarts.storage.place import Place, entries
from raydarts.trackers.base import Tracker, TrialObserver, scalars

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

FOLDER = "tensorboard"


class TensorBoard(Tracker):
    """Event files in each trial's folder; needs tensorboardX, not TensorBoard itself."""

    NAME = "tensorboard"
    SOURCE = "tensorboard.dev, written by tensorboardX"

    def check(self, place: Place) -> None:
        if not isinstance(place, Path):
            raise InputError(
                f"track.tensorboard: writes files on a disk, and {place} is none; leave it out, or use a folder"
            )
        if importlib.util.find_spec("tensorboardX") is None:
            raise InputError(
                "track.tensorboard: tensorboardX is not installed: pip install tensorboardX, or leave "
                "track.tensorboard out"
            )

    def observer(self, trial: TrialDirectory) -> TrialObserver:
        return EventFile(trial)


class EventFile(TrialObserver):
    """Writes `TRIAL/tensorboard/`. A resumed trial's file is written anew, so each epoch is in it once."""

    def __init__(self, trial: TrialDirectory) -> None:
        self._trial = trial
        self._writer: SummaryWriter | None = None

    def open(self) -> None:
        from tensorboardX import SummaryWriter  # noqa: PLC0415 - only where it is asked for

        if not isinstance(self._trial.path, Path):
            raise TypeError(f"{self._trial.path}: event files are written on a disk alone")
        if isinstance(self._trial.files, Inside):  # the library would follow a link
            entries(self._trial.files / FOLDER)
        folder = self._trial.path / FOLDER
        if folder.exists():
            self._trial.check()
            shutil.rmtree(folder)
        self._writer = SummaryWriter(str(folder))
        what = self._trial.description()
        if what.get("configuration") is not None:
            name = f"{what['configuration']:04d}, search seed {what['replicate']}"
            self._writer.add_text("configuration", name, 0)

    def epoch(self, row: Mapping[str, object]) -> None:
        if self._writer is None:
            return
        for key, value in scalars(row).items():
            if key != "epoch" and not isinstance(value, str | bool):
                self._writer.add_scalar(key, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
