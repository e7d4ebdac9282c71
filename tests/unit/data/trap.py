"""A pickle that shows that it was opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "unpickled"))
