"""A genotype on the command line: `FILE`, or `FILE:NAME` where a file holds several, as papers' genotypes.py do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NamedGenotype:
    """One of a file's genotypes: by its name, or by its line or place in the file. It has those of Path's words that
    readers of a genotype use.
    """

    path: Path
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"

    @property
    def stem(self) -> str:
        """What files that are made of it are called."""
        return f"{self.path.stem}-{self.name}"

    def with_suffix(self, suffix: str) -> Path:
        """A file beside the genotype's."""
        return self.path.with_name(f"{self.stem}{suffix}")

    def exists(self) -> bool:
        return self.path.exists()

    def is_dir(self) -> bool:
        return False


GenotypeFile = Path | NamedGenotype


def parse(text: str, file_of: Callable[[str], Path]) -> GenotypeFile:
    """A file that is there under the whole text wins; else what follows the last colon is a name."""
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
