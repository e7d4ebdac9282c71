"""Batches of one part of a split: uint8 images, augmented on the device one batch at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raydarts.data.augment import crop_and_flip, cut_out_
from raydarts.data.colour import jittered, require_colours
from raydarts.data.settings import AugmentSettings
from raydarts.data.splits import Splits
from raydarts.data.windows import draws_of, resized, windows
from raydarts.errors import InputError
from raydarts.streams import WHOLE, Share
from raydarts.tasks import Batch

Part = Literal["weight", "alpha", "search", "validation", "test"]


Sliceable = TypeVar("Sliceable", Tensor, range)


def in_slices(values: Sliceable, size: int) -> Iterator[Sliceable]:
    """Yields `values` in slices of `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


class Batches(ABC):
    """One part of a split. All draws come from the given generators, which live on the device."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of images or tokens."""

    @abstractmethod
    def epoch(self, batch_size: int, order: torch.Generator, augment: torch.Generator) -> Iterator[Batch]:
        """Yields one pass for learning."""

    @abstractmethod
    def sequential(self, batch_size: int) -> Iterator[Batch]:
        """Yields everything once, in order, unchanged."""

    @abstractmethod
    def measured_size(self, batch_size: int) -> int:
        """Returns the batch size for `sequential` when nothing is learned, if learning uses `batch_size`."""

    @abstractmethod
    def batch_statistics_size(self, batch_size: int) -> int | None:
        """Returns `measured_size` for batch norms that use each batch's statistics. No batch may have only a few rows.

        None means that such statistics are worth less than running ones, whatever arch weights those belong to.
        """

    @abstractmethod
    def require(self, batch_size: int) -> None:
        """Raises `DataError` if no batch of this size can be made."""

    @abstractmethod
    def carry(self, memory: Tensor | None) -> None:
        """Receives the network's hidden state after the last batch. The next batch of the pass starts with it."""

    def cut_out(self, share: float, probability: float) -> None:
        """From the next pass on, sets a square to 0 whose side is `share` of an image's shorter side."""
        raise InputError("cutout is for images, and these data are none")


class PreparedImages(Batches):
    """Images of a part, normalised and augmented.

    Equal generators give the same bits. The state of the generators after a pass depends only on the number of images
    and of batches taken. `cutout`, (length in pixels, probability), starts with the settings' values. It may be set
    before an epoch, so that a remedy can ramp it. At 0 nothing is drawn for it.
    """

    def __init__(
        self, splits: Splits, part: str, device: torch.device | str, dtype: torch.dtype, augment: AugmentSettings | None
    ) -> None:
        source = splits.source
        channels, height, width = source.image_shape
        if augment is not None:
            require_colours(augment.colour_jitter, source.name, channels)
        labels = source.test_labels if part == "test" else source.train_labels
        self.device = torch.device(device)
        self.dtype = dtype
        self._shorter = min(height, width)
        self.targets = torch.from_numpy(labels[getattr(splits, part)]).to(self.device)
        self.augment = augment
        self.cutout = (0, 0.0) if augment is None else (augment.cutout_length, augment.cutout_probability)
        # One value for each channel of each pixel. Long rows are subtracted faster than triples.
        self._mean = (torch.tensor(source.mean, dtype=dtype, device=device) * 255).repeat(height * width)
        self._std = (torch.tensor(source.std, dtype=dtype, device=device) * 255).repeat(height * width)

    def __len__(self) -> int:
        return len(self.targets)

    def measured_size(self, batch_size: int) -> int:
        return 4 * batch_size

    def batch_statistics_size(self, batch_size: int) -> int:
        """As many batches as otherwise. Their sizes differ by rounding only."""
        batches = -(-len(self) // self.measured_size(batch_size))
        return -(-len(self) // max(1, batches))

    def require(self, batch_size: int) -> None:
        """A part smaller than a batch is one batch with all of it."""

    def carry(self, memory: Tensor | None) -> None:
        """A network of images has no hidden state."""

    def cut_out(self, share: float, probability: float) -> None:
        self.cutout = (max(1, round(share * self._shorter)), probability)

    def epoch(
        self,
        batch_size: int,
        order: torch.Generator,
        augment: torch.Generator,
        drop_last: bool = True,
        share: Share = WHOLE,
    ) -> Iterator[Batch]:
        """Yields one shuffled, augmented pass. A part smaller than a batch is one batch with all of it.

        `drop_last` leaves out an incomplete last batch. Of each batch the rows of `share` are returned. `share` must
        divide the batch.
        """
        size = min(batch_size, len(self))
        chosen = list(in_slices(torch.randperm(len(self), generator=order, device=self.device), max(size, 1)))
        if drop_last and chosen and len(chosen[-1]) < size:
            del chosen[-1]
        for numbers, images in zip(chosen, self._training_images(chosen, augment, share), strict=True):
            yield Batch(self._augmented(images, augment, share), self.targets[share.of(numbers)])

    def sequential(self, batch_size: int, share: Share = WHOLE) -> Iterator[Batch]:
        """Yields every image once, in order, unchanged. A share gets only every `share.size`-th batch."""
        places = list(in_slices(range(len(self)), batch_size))[share.rank :: share.size]
        for images, place in zip(self._images_in_order(places), places, strict=True):
            yield Batch(self._as_inputs(self._normalised(images)), self.targets[place.start : place.stop])

    @abstractmethod
    def _training_images(self, chosen: Sequence[Tensor], generator: torch.Generator, share: Share) -> Iterator[Tensor]:
        """Yields the share of a batch for each of `chosen` (positions in the part), uint8 NHWC.

        If random windows are on, they are drawn for whole batches.
        """

    @abstractmethod
    def _images_in_order(self, places: Sequence[range]) -> Iterator[Tensor]:
        """Yields the images at these positions in the part, one batch each, uint8 NHWC."""

    def _augmented(self, images: Tensor, generator: torch.Generator, share: Share) -> Tensor:
        settings = self.augment
        if settings is None:
            return self._as_inputs(self._normalised(images))
        images = crop_and_flip(images, settings, generator, share)
        if settings.colour_jitter.strengths:
            images = jittered(images.to(self.dtype), settings.colour_jitter, generator, share)
        values = self._normalised(images)
        cut_out_(values, *self.cutout, generator, share)
        return self._as_inputs(values)

    def _normalised(self, images: Tensor) -> Tensor:
        values = images.to(self.dtype, copy=True).flatten(1)
        return values.sub_(self._mean).div_(self._std).view(images.shape)

    @staticmethod
    def _as_inputs(values: Tensor) -> Tensor:
        return values.permute(0, 3, 1, 2)


class ImageBatches(PreparedImages):
    """A part of arrays in memory, as uint8 on the device."""

    def __init__(
        self, splits: Splits, part: str, device: torch.device | str, dtype: torch.dtype, augment: AugmentSettings | None
    ) -> None:
        super().__init__(splits, part, device, dtype, augment)
        self.images = _shared_images(splits, part, self.device)

    def _training_images(self, chosen: Sequence[Tensor], generator: torch.Generator, share: Share) -> Iterator[Tensor]:
        area = None if self.augment is None else self.augment.random_resized_crop
        for numbers in chosen:
            images = self.images[share.of(numbers)]
            if area is not None:
                _, height, width, _ = images.shape
                draws = share.of(draws_of(len(numbers), generator, self.device))
                images = resized(images, windows(draws, height, width, area))
            yield images

    def _images_in_order(self, places: Sequence[range]) -> Iterator[Tensor]:
        for place in places:
            yield self.images[place.start : place.stop]


def _shared_images(splits: Splits, part: str, device: torch.device) -> Tensor:
    """Returns a part's images on the device. Jobs that run at the same time, such as lanes, have one copy."""
    name = f"{part} {device}"
    images = splits.shared.get(name)
    if not isinstance(images, Tensor):
        arrays = splits.arrays
        every = arrays.test_images if part == "test" else arrays.train_images
        images = as_tensor(_picked(every, getattr(splits, part))).to(device)
        splits.shared[name] = images
    return images


def _picked(images: NDArray[np.uint8], numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns these images in one piece: without a copy if they lie side by side in this order."""
    first = int(numbers[0]) if len(numbers) else 0
    if np.array_equal(numbers, np.arange(first, first + len(numbers))):
        return np.ascontiguousarray(images[first : first + len(numbers)])
    return np.ascontiguousarray(images[numbers])


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """Returns a tensor with the array's memory, to be read only.

    torch has no tensors that must not be written into, and warns, once in a process, of an array that is so. No warning
    is spent here, so that a place that may write still has it. Nothing writes into the tensors that are made here:
    a test compares the data after a whole search (`tests/unit/data/test_shared.py`).
    """
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Readable(array)))


class _Readable:
    """The memory of an array that must not be written into, without that mark. It lives as long as it is used."""

    def __init__(self, array: NDArray[np.generic]) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
