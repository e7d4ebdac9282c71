"""TensorBoard: each trial's metrics over epochs as an event file in its folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raydarts.runs.directory import TrialDirectory
from raydarts.storage.inside import Inside
from raydarts.storage.place import entries
from raydarts.tracking import names, payload

FOLDER = "tensorboard"


class EventFile:
    """An observer that writes `TRIAL/tensorboard/`. A restored trial's file is written anew from its metrics.jsonl,
    so each epoch is in it once. Needs tensorboardX (which Ray Tune brings along), not TensorBoard itself.
    """

    def __init__(self, trial: TrialDirectory) -> None:
        from tensorboardX import SummaryWriter  # noqa: PLC0415 - only where it is asked for

        if not isinstance(trial.path, Path):
            raise TypeError(f"{trial.path}: event files are written on a disk alone")
        if isinstance(trial.files, Inside):  # the library would follow a link
            entries(trial.files / FOLDER)
        folder = trial.path / FOLDER
        if folder.exists():
            trial.check()
            shutil.rmtree(folder)
        self._writer: Any = SummaryWriter(str(folder))
        for row in trial.rows():
            self.epoch(row)

    def epoch(self, row: Mapping[str, Any]) -> None:
        for key, value in payload.scalars(row).items():
            if key != names.STEP and not isinstance(value, str | bool):
                self._writer.add_scalar(key, value, row[names.STEP])
        self._writer.flush()

    def finished(self, result: Mapping[str, Any]) -> None:
        """Nothing: what there is to see is there."""

    def close(self) -> None:
        self._writer.close()
