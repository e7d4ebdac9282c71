"""Your own texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from raydarts.data.paths import DataPath, is_folder, is_there
from raydarts.data.text import Text, read_text
from raydarts.data.text_files import TextDataset, VocabularySettings
from raydarts.errors import DataError

NAMES = ("train.txt", "valid.txt", "test.txt")


class TextFolder(TextDataset):
    """train.txt, valid.txt and test.txt in `root`. Or `root` is one file that is cut into three parts by lines.

    Tokens are split at whitespace and used as they are. `validation_fraction` and `test_fraction` are only for one
    file. Its last lines are the test text, the lines before them the validation text.
    """

    NAME = "text_folder"
    SOURCE = "the layout of the authors' code (quark0/darts, rnn/data.py)"

    class Settings(VocabularySettings):
        root: DataPath = Field(
            description="Folder with train.txt, valid.txt and test.txt, or one file that is cut into three parts."
        )
        validation_fraction: float | None = Field(
            None, gt=0, lt=1, description="Share of the lines of one file that become the validation text."
        )
        test_fraction: float | None = Field(
            None,
            gt=0,
            lt=1,
            description="Share of the lines of one file that become the test text. They are the last lines.",
        )

        @field_validator("test_fraction")
        @classmethod
        def _leave_some(cls, value: float | None, info: ValidationInfo) -> float | None:
            if (value or 0) + (info.data.get("validation_fraction") or 0) >= 1:
                raise ValueError("validation_fraction and test_fraction together leave no line to learn from")
            return value

    @property
    def files(self) -> tuple[Path, Path, Path]:
        root = Path(self.settings.root)
        train, validation, test = (root / name for name in NAMES)
        return train, validation, test

    def read(self) -> Sequence[Text]:
        root = Path(self.settings.root)
        fractions = {
            key: getattr(self.settings, key)
            for key in ("validation_fraction", "test_fraction")
            if getattr(self.settings, key) is not None
        }
        if not is_there(root):
            raise DataError(f"{root}: there is neither a folder with {', '.join(NAMES)} nor a text file of that name")
        if is_folder(root):
            if fractions:
                raise DataError(
                    f"{root} is a folder, whose texts are parted already: leave {' and '.join(fractions)} of "
                    "data.dataset out"
                )
            return super().read()
        if len(fractions) < 2:
            raise DataError(
                f"{root} is one file: say how much of it is held out, with validation_fraction and test_fraction "
                "(0.1 each is usual)"
            )
        lines = read_text(root)
        parts = _stretches(lines, fractions["validation_fraction"], fractions["test_fraction"])
        if empty := [name.removesuffix(".txt") for name, part in zip(NAMES, parts, strict=True) if not part]:
            raise DataError(
                f"{root}: has {len(lines):,} lines, of which none is left for: {', '.join(empty)}; it is cut between "
                "lines: give more lines, or other fractions"
            )
        return parts


def _stretches(lines: Text, validation: float, test: float) -> Sequence[Text]:
    """Returns three ranges of lines, in order."""
    second = round(len(lines) * (1 - test))
    first = round(len(lines) * (1 - test - validation))
    return [lines[:first], lines[first:second], lines[second:]]
