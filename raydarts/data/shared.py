"""A data set in a form that several processes can have in common: read-only arrays, each part of a split in one piece.

Nobody writes into them. Jobs copy batches out of them, or move parts to a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, Splits, keep_splits, split_of
from raydarts.data.text import TextTokens


@dataclass(frozen=True)
class SharedImages:
    """Images in memory. The training images stand in the order weight, alpha, validation, and those that are not used.

    `weight`, `alpha`, `validation`: how many there are of each.
    """

    source: ImageArrays
    weight: int
    alpha: int
    validation: int

    def splits(self, settings: DataSettings) -> Splits:
        first, second = self.weight, self.weight + self.alpha
        numbers = np.arange(second + self.validation, dtype=np.int64)
        return Splits(self.source, numbers[:first], numbers[first:second], numbers[second:])

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        source = self.source
        return (source.train_images, source.train_labels, source.test_images, source.test_labels)


@dataclass(frozen=True)
class SharedText:
    """Texts in memory, before the training text is split."""

    source: TextTokens

    def splits(self, settings: DataSettings) -> AnySplits:
        return split_of(self.source, settings)

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        return (self.source.train, self.source.validation, self.source.test)


SharedData = SharedImages | SharedText


def shareable(splits: AnySplits) -> SharedData | None:
    """Returns the data of a split for other processes. None: they stay in their files, or a class of the user's own
    holds them.
    """
    source = splits.source
    shared: SharedData
    if isinstance(splits, Splits):
        if type(source) is not ImageArrays:
            return None
        used = np.concatenate([splits.weight, splits.alpha, splits.validation])
        others = np.setdiff1d(np.arange(len(source.train_labels)), used)
        order = np.concatenate([used, others])
        gathered = replace(
            source,
            train_images=source.train_images[order],
            train_labels=source.train_labels[order],
            files=None,
        )
        shared = SharedImages(gathered, len(splits.weight), len(splits.alpha), len(splits.validation))
    elif type(source) is TextTokens:
        shared = SharedText(source)
    else:
        return None
    plain = all(type(array) is np.ndarray and array.dtype.kind in "iuf" for array in shared.arrays)
    return shared if plain else None


def size_of_shared(shared: SharedData) -> int:
    """Returns the bytes of its arrays."""
    return sum(array.nbytes for array in shared.arrays)


def take(settings: DataSettings, shared: SharedData) -> None:
    """From now on `load_splits` returns these data in this process."""
    keep_splits(settings, shared.splits(settings))
