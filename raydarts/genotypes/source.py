"""A genotype on the command line: `FILE`, or `FILE:NAME` if a file holds several, as papers' genotypes.py do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NamedGenotype:
    """One of a file's genotypes, by its name, or by its line or position in the file.

    It has the methods of Path that readers of a genotype use.
    """

    path: Path
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @property
    def stem(self) -> str:
        """Names files that are made from it."""
        return f"{self.path.stem}-{self.name}"

    def with_suffix(self, suffix: str) -> Path:
        """Returns a path beside the genotype's file."""
        return self.path.with_name(f"{self.stem}{suffix}")

    def exists(self) -> bool:
        return self.path.exists()

    def is_dir(self) -> bool:
        return False


GenotypeFile = Path | NamedGenotype


def parse(text: str, file_of: Callable[[str], Path]) -> GenotypeFile:
    """Parses the text. An existing file with the whole text as its name wins. Else a name follows the last colon."""
    whole = file_of(text)
    before, colon, name = text.rpartition(":")
    if not colon or not before or not name or "/" in name or _is_there(whole):
        return whole
    file = file_of(before)
    return NamedGenotype(file, name) if _is_there(file) else whole


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long
        return False
