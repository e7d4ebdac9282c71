"""Digits that leave a mark for each process that loads them, and what a trial's process takes of data."""

from __future__ import annotations

import os
from pathlib import Path

from raydarts import registry
from raydarts.data.base import ImageArrays
from raydarts.data.digits import Digits
from raydarts.data.settings import DataSettings
from raydarts.data.splits import Splits
from raydarts.execution.shared_data import Copies, give, splits_for


class MarkedDigits(Digits):
    """Digits. `marks`: a file to which each loading process adds its number."""

    NAME = "marked_digits"

    class Settings(registry.Settings):
        marks: str = "marks"

    def load(self) -> ImageArrays:
        with Path(self.settings.marks).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        return super().load()


def parts(copies: Copies, settings: str) -> tuple[int, bool, int]:
    """Takes data as a trial's process does. Returns its number, whether it may write into the images, and their sum."""
    give(copies)
    splits = splits_for(DataSettings.model_validate_json(settings))
    assert isinstance(splits, Splits)
    images = splits.arrays.train_images
    return os.getpid(), bool(images.flags.writeable), int(images[splits.weight].sum())
