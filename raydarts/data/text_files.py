"""What text data sets in files share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from raydarts import registry
from raydarts.data.base import Dataset
from raydarts.data.downloaded import one_at_a_time
from raydarts.data.paths import DataPath, is_file
from raydarts.data.text import (
    Text,
    TextTokens,
    closed_vocabulary,
    frequent_vocabulary,
    read_text,
    read_vocabulary,
)
from raydarts.errors import DataError
from raydarts.units import Tokens


class VocabularySettings(registry.Settings):
    """The vocabulary of a text. Set one of the two keys, or none."""

    vocabulary: DataPath | None = Field(
        None,
        description="A file with one token a line. A token that is missing there becomes `<unk>`, or is an "
        "error where the file has no `<unk>`.",
    )
    vocabulary_size: Tokens | None = Field(
        None,
        ge=3,
        description="How many of the most frequent training tokens are kept, `<unk>` and `<eos>` included. "
        "`null` keeps every token of all three parts.",
    )

    @field_validator("vocabulary_size")
    @classmethod
    def _one_of_them(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("vocabulary") is not None:
            raise ValueError("vocabulary says already which tokens there are; leave one of the two out")
        return value


class TextDataset(Dataset):
    """Base of texts in three files. Words are split at whitespace. Each line ends with `<eos>`."""

    KIND: ClassVar[str] = "text"

    @property
    @abstractmethod
    def files(self) -> tuple[Path, Path, Path]:
        """The files of the training, validation and test text."""

    def read(self) -> Sequence[Text]:
        """Returns the three texts."""
        return [read_text(path) for path in self.files]

    def check(self) -> None:
        """Reads the texts if they exist, which takes a second or two, and reports every error in them."""
        self.load()

    def preview(self) -> TextTokens | None:
        return self.load() if self.at_hand else None

    def load(self) -> TextTokens:
        texts = self.read()
        settings = self.settings
        if settings.vocabulary is not None:
            vocabulary = read_vocabulary(Path(settings.vocabulary))
        elif settings.vocabulary_size is not None:
            vocabulary = frequent_vocabulary(texts[0], settings.vocabulary_size)
        else:
            vocabulary = closed_vocabulary(texts)
        return TextTokens.of(self.NAME, texts, vocabulary)


class DownloadedText(TextDataset):
    """Base of texts that can be downloaded. Existing files are read as they are."""

    TITLE: ClassVar[str]
    UNPACKED: ClassVar[str]
    """How to have the files without a download."""

    class Settings(VocabularySettings):
        root: DataPath = Field("data", description="Folder that holds the three text files.")
        download: bool = Field(True, description="Whether missing files are downloaded.")

    @abstractmethod
    def fetch(self, root: Path) -> None:
        """Downloads missing files and checks their MD5 sums. Raises what torchvision raises."""

    @property
    def at_hand(self) -> bool:
        return not self._missing

    @property
    def _missing(self) -> list[str]:
        return [str(path) for path in self.files if not is_file(path)]

    def check(self) -> None:
        missing = self._missing
        if missing and not self.settings.download:
            raise DataError(
                f"{', '.join(missing)}: not there; {self.UNPACKED} in {self.settings.root}, or set download: true"
            )
        if not missing:
            self.load()

    def load(self) -> TextTokens:
        if self._missing:
            if not self.settings.download:
                self.check()
            self._download(Path(self.settings.root))
        return super().load()

    def _download(self, root: Path) -> None:
        try:
            with one_at_a_time(root):
                self.fetch(root)
        except (RuntimeError, OSError, HTTPException) as error:
            names = ", ".join(str(path) for path in self.files)
            raise DataError(
                f"{self.TITLE} cannot be downloaded to {root}: {error}; {self.UNPACKED} there and set download: false, "
                f"so that there are {names}; or use data.dataset pydoc_topics, which needs no download"
            ) from error
