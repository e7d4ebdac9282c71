"""What a data set is to the rest of raydarts: labelled images, in memory or as files to read from, or texts."""

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
    """Images as they lie in memory, before any split.

    `train_images`, `test_images`: uint8 `(n, height, width, channels)`; labels: int64 `(n,)`, values
    `0..num_classes-1`. `mean`, `std`: per channel, of pixels scaled to [0, 1], from the training
    images alone. `classes`: their names (empty: their numbers). `notes`: what a user should know of how the data
    were read, a line each. `files`: where the images came from, if from files.
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
        """With mean and standard deviation taken from the training images."""
        # One channel at a time: a float copy of all of CIFAR-10 would take a gigabyte.
        channels = [train_images[..., channel].astype(np.float32) / 255 for channel in range(train_images.shape[-1])]
        mean = tuple(float(channel.mean(dtype=np.float64)) for channel in channels)
        std = tuple(max(float(channel.std(dtype=np.float64)), 1e-6) for channel in channels)
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
        """The same images with these statistics; None keeps those it has."""
        return replace(self, mean=mean or self.mean, std=std or self.std)


ImageSource = ImageArrays | ImageFiles
"""Both have `name`, `train_labels`, `test_labels`, `num_classes`, `image_shape`, `task`, `mean`, `std`,
`classes`, `notes`, `with_statistics`.
"""


Source = ImageSource | TextTokens


class Dataset(Member):
    """A data set that can be chosen by name (family `dataset`). `KIND`: what it consists of, `image` or `text`."""

    KIND: ClassVar[str] = "image"

    @abstractmethod
    def load(self) -> Source:
        """Read it into memory, or list its files. Raises `DataError`, naming file and remedy, where it cannot."""

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded without a download."""
        return True

    def check(self) -> None:
        """Raise `DataError` where `load` is bound to fail, as far as that costs seconds: a missing file or folder."""

    def preview(self) -> Source | None:
        """What `load` gives, or the list of its files, where that takes seconds and no download; else None."""
        return None
