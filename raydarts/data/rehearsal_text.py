"""Text for a rehearsal: the beginning of another text, or made up with its vocabulary's size."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from raydarts import registry
from raydarts.data.base import Dataset
from raydarts.data.text import EOS, TextTokens
from raydarts.errors import DataError
from raydarts.registry import Choose, Component
from raydarts.units import Tokens


class RehearsalText(Dataset):
    """The first tokens of another text, or random tokens where that is absent. `--rehearse` writes it.

    The vocabulary keeps its size, which decides what a step costs. Nothing that is measured on it means anything.
    """

    NAME = "rehearsal_text"
    SOURCE = "raydarts"
    KIND: ClassVar[str] = "text"

    class Settings(registry.Settings):
        of: Annotated[Component, Choose("dataset")] | None = Field(
            None, description="The text whose first tokens are taken. `null` makes tokens up."
        )
        train: Tokens = Field(1000, ge=4, description="Training tokens, at most.")
        validation: Tokens = Field(200, ge=2, description="Validation tokens, at most.")
        test: Tokens = Field(200, ge=2, description="Test tokens, at most.")
        vocabulary: Tokens = Field(1000, ge=3, description="Size of the vocabulary of made-up text.")

    def load(self) -> TextTokens:
        settings = self.settings
        if settings.of is None:
            generator = np.random.default_rng(0)
            parts = [
                generator.integers(0, settings.vocabulary, count, dtype=np.int64)
                for count in (settings.train, settings.validation, settings.test)
            ]
            words = (EOS, *(f"w{number}" for number in range(1, settings.vocabulary)))
            return TextTokens("made-up text", parts[0], parts[1], parts[2], words)
        source = settings.of.build().load()
        if not isinstance(source, TextTokens):
            raise DataError(f"rehearsal_text: {settings.of.name} holds images; use rehearsal_images")
        return replace(
            source,
            train=source.train[: settings.train],
            validation=source.validation[: settings.validation],
            test=source.test[: settings.test],
        )

    def preview(self) -> TextTokens | None:
        return self.load() if self.settings.of is None or self.settings.of.build().at_hand else None
