"""A genotype on the command line: `FILE`, `FILE:NAME` of a file with several, as papers' genotypes.py are, `RUN:ID`."""

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


@dataclass(frozen=True)
class RunGenotype:
    """A run's genotype, already read. It has the methods of Path that readers of a genotype use.

    `run` is the run's place as text, `text` what its file holds, `folder` where files that are made from it lie.
    """

    run: str
    id: str
    text: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.run}:{self.id}"

    @property
    def stem(self) -> str:
        return self.id

    def with_suffix(self, suffix: str) -> Path:
        return self.folder / f"{self.id}{suffix}"

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False


GenotypeFile = Path | NamedGenotype | RunGenotype


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
