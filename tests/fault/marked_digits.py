"""Digits that leave a mark for each process that loads them."""

from __future__ import annotations

import os
from pathlib import Path

from raydarts import registry
from raydarts.data.base import ImageArrays
from raydarts.data.digits import Digits


class MarkedDigits(Digits):
    """Digits. `marks`: a file to which each loading process adds its number."""

    NAME = "marked_digits"

    class Settings(registry.Settings):
        marks: str = "marks"

    def load(self) -> ImageArrays:
        with Path(self.settings.marks).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        return super().load()
