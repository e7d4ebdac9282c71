"""What the rest of raydarts knows of a data set: labelled images, in memory or in files, or texts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from raydarts.data.files import ImageFiles
from raydarts.data.text import TextTokens
from raydarts.registry import Member
from raydarts.tasks import Classification


@dataclass(frozen=True)
class ImageArrays:
    """Images in memory, before any split.

    - `train_images`, `test_images`: uint8 `(n, height, width, channels)`.
    - `train_labels`, `test_labels`: int64 `(n,)`, values `0..num_classes-1`.
    - `mean`, `std`: for each channel, of pixels scaled to [0, 1], from the training images only.
    - `classes`: their names. Empty means their numbers.
    - `notes`: what a user should know about how the data were read, one line each.
    - `files`: the files that the images came from, if any.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: ImageFiles | None = None

    @classmethod
    def of(
        cls,
        name: str,
        train_images: NDArray[np.uint8],
        train_labels: NDArray[np.int64],
        test_images: NDArray[np.uint8],
        test_labels: NDArray[np.int64],
        num_classes: int,
        classes: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        files: ImageFiles | None = None,
    ) -> ImageArrays:
        """Builds it with mean and standard deviation of the training images."""
        mean, std = zip(*(_statistics(train_images[..., each]) for each in range(train_images.shape[-1])), strict=True)
        return cls(
            name,
            train_images,
            train_labels,
            test_images,
            test_labels,
            num_classes,
            mean,
            std,
            classes,
            notes,
            files,
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, height, width, channels = self.train_images.shape
        return (channels, height, width)

    @property
    def task(self) -> Classification:
        return Classification(self.image_shape, self.num_classes)

    def with_statistics(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> ImageArrays:
        """Returns the same images with these statistics. None keeps the present ones."""
        return replace(self, mean=mean or self.mean, std=std or self.std)


def _statistics(channel: NDArray[np.uint8]) -> tuple[float, float]:
    """Returns mean and standard deviation. One channel at a time: a float copy of all of CIFAR-10 takes 600 MB."""
    values = channel.astype(np.float32) / 255
    return float(values.mean(dtype=np.float64)), max(float(values.std(dtype=np.float64)), 1e-6)


ImageSource = ImageArrays | ImageFiles
"""Both have `name`, `train_labels`, `test_labels`, `num_classes`, `image_shape`, `task`, `mean`, `std`,
`classes`, `notes`, `with_statistics`.
"""


Source = ImageSource | TextTokens


@dataclass(frozen=True)
class Size:
    """What a data set holds: images or tokens of each part, and the shape of images or the vocabulary of text."""

    train: int
    validation: int
    test: int
    height: int = 0
    width: int = 0
    channels: int = 0
    classes: int = 0
    vocabulary: int = 0


def size_of(source: Source) -> Size:
    """The size of a source that is there."""
    if isinstance(source, TextTokens):
        parts = (len(source.train), len(source.validation), len(source.test))
        return Size(*parts, vocabulary=len(source.vocabulary))
    channels, height, width = source.image_shape
    return Size(len(source.train_labels), 0, len(source.test_labels), height, width, channels, source.num_classes)


class Dataset(Member):
    """A data set that can be chosen by name (family `dataset`). `KIND` is `image` or `text`."""

    KIND: ClassVar[str] = "image"

    @abstractmethod
    def load(self) -> Source:
        """Reads it into memory, or lists its files. Raises `DataError` with the file and what to do if it cannot."""

    def published(self) -> Size | None:
        """What it holds, as its authors say, whether it is there or not. None: that is not known."""
        return None

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded without a download."""
        return True

    @property
    def in_files(self) -> bool:
        """Whether `load` only lists files (`ImageFiles`), which each process reads while training."""
        return False

    def check(self) -> None:
        """Raises `DataError` if `load` must fail, for example for a missing file. It takes seconds at most."""

    def preview(self) -> Source | None:
        """Returns what `load` returns, or the list of its files, or None.

        None means that this would take longer than seconds, or a download.
        """
        return None
