"""Data for a rehearsal: a little of another data set, or made up in its shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raydarts import registry
from raydarts.data.base import Dataset, ImageArrays, ImageSource, Source
from raydarts.data.files import ImageFiles
from raydarts.data.text import EOS, TextTokens
from raydarts.errors import DataError
from raydarts.registry import Choose, Component
from raydarts.units import Pixels, Tokens


class Rehearsal(Dataset):
    """A little of the data set `of`. None: made up."""

    def preview(self) -> Source | None:
        return self.load() if self.settings.of is None or self.settings.of.build().at_hand else None


class RehearsalImages(Rehearsal):
    """Some images of another data set, or noise in its shape where that is absent. `--rehearse` writes it.

    Of another data set the images are drawn at random, the same ones each time. Made-up images are noise around a grey
    of their class. Nothing that is measured on them means anything.
    """

    NAME = "rehearsal_images"
    SOURCE = "raydarts"

    class Settings(registry.Settings):
        of: Annotated[Component, Choose("dataset")] | None = Field(
            None, description="The data set whose images are taken. `null` makes images up."
        )
        train: int = Field(64, ge=4, description="How many training images are taken or made up, at most.")
        test: int = Field(16, ge=1, description="How many test images are taken or made up, at most.")
        height: Pixels = Field(32, ge=4, description="Height of made-up images.")
        width: Pixels = Field(32, ge=4, description="Width of made-up images.")
        channels: int = Field(3, ge=1, description="Channels of made-up images.")
        classes: int = Field(10, ge=2, description="Classes of made-up images.")

    def load(self) -> ImageSource:
        settings = self.settings
        if settings.of is None:
            return self._made_up()
        source = settings.of.build().load()
        if isinstance(source, TextTokens):
            raise DataError(f"rehearsal_images: {settings.of.name} holds text; use rehearsal_text")
        return excerpt(source, settings.train, settings.test)

    def _made_up(self) -> ImageArrays:
        settings, generator = self.settings, np.random.default_rng(0)
        parts = []
        for count in (settings.train, settings.test):
            labels = np.arange(count, dtype=np.int64) % settings.classes
            shape = (count, settings.height, settings.width, settings.channels)
            noise = generator.integers(0, 128, shape, dtype=np.uint8)
            grey = (labels * 127 // settings.classes).astype(np.uint8)
            parts.append((noise + grey[:, None, None, None], labels))
        (train, labels), (test, test_labels) = parts
        return ImageArrays.of("made-up images", train, labels, test, test_labels, settings.classes)


class RehearsalText(Rehearsal):
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


def excerpt(source: ImageSource, train: int, test: int) -> ImageSource:
    """At most so many images of each part of a source. Its statistics stay those of all."""
    first, second = _drawn(source.train_labels, train), _drawn(source.test_labels, test)
    if isinstance(source, ImageFiles):
        return replace(
            source,
            train_files=source.train_files[first],
            train_labels=source.train_labels[first],
            test_files=source.test_files[second],
            test_labels=source.test_labels[second],
        )
    return replace(
        source,
        train_images=source.train_images[first],
        train_labels=source.train_labels[first],
        test_images=source.test_images[second],
        test_labels=source.test_labels[second],
        files=None,
    )


def _drawn(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(len(labels))[:most]).astype(np.int64)
