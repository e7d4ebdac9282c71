"""Batches from memory: uint8 images on the device, augmented there a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from raydarts.data.settings import AugmentSettings
from raydarts.data.splits import Splits

Part = Literal["weight", "alpha", "search", "validation", "test"]


class Batch(NamedTuple):
    """`inputs` `(n, channels, H, W)` normalised, channels last in memory; `targets` `(n,)` class numbers."""

    inputs: Tensor
    targets: Tensor


class ImageBatches:
    """One part of a split. All draws come from the generators given, which live on the device.

    `cutout_probability` starts as the settings' and may be set before an epoch, so that a remedy can
    ramp it; at 0 nothing is drawn for cutout.
    """

    def __init__(
        self, splits: Splits, part: str, device: torch.device | str, dtype: torch.dtype, augment: AugmentSettings | None
    ) -> None:
        arrays = splits.arrays
        images, labels = (
            (arrays.test_images, arrays.test_labels) if part == "test" else (arrays.train_images, arrays.train_labels)
        )
        indices = getattr(splits, part)
        chosen = torch.from_numpy(np.ascontiguousarray(images[indices].transpose(0, 3, 1, 2)))
        self.images = chosen.to(device)
        self.targets = torch.from_numpy(labels[indices]).to(device)
        self.dtype = dtype
        self.augment = augment
        self.cutout_probability = 0.0 if augment is None else augment.cutout_probability
        shape = (1, -1, 1, 1)
        self.mean = torch.tensor(arrays.mean, dtype=dtype, device=device).view(shape) * 255
        self.std = torch.tensor(arrays.std, dtype=dtype, device=device).view(shape) * 255

    def __len__(self) -> int:
        return len(self.targets)

    def epoch(
        self, batch_size: int, order: torch.Generator, augment: torch.Generator, drop_last: bool = True
    ) -> Iterator[Batch]:
        """One shuffled, augmented pass. A part smaller than a batch is one batch of all of it.

        `drop_last` leaves an incomplete last batch out.
        """
        permutation = torch.randperm(len(self), generator=order, device=self.images.device)
        size = min(batch_size, len(self))
        for start in range(0, len(self) - size + 1 if drop_last else len(self), max(size, 1)):
            chosen = permutation[start : start + size]
            images = self.images[chosen]
            if self.augment is not None:
                images = _crop_and_flip(images, self.augment, augment)
            inputs = self._normalised(images)
            if self.augment is not None:
                inputs = _cutout(inputs, self.augment.cutout_length, self.cutout_probability, augment)
            yield Batch(inputs, self.targets[chosen])

    def sequential(self, batch_size: int) -> Iterator[Batch]:
        """Every image once, in order, as it is."""
        for start in range(0, len(self), batch_size):
            images = self.images[start : start + batch_size]
            yield Batch(self._normalised(images), self.targets[start : start + batch_size])

    def _normalised(self, images: Tensor) -> Tensor:
        values = (images.to(self.dtype) - self.mean) / self.std
        return values.contiguous(memory_format=torch.channels_last)


def _crop_and_flip(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Random crop out of the zero-padded image, then a flip with probability 1/2."""
    count, _, height, width = images.shape
    device = images.device
    rows = torch.arange(height, device=device).expand(count, height)
    columns = torch.arange(width, device=device).expand(count, width)
    if settings.crop_padding:
        padding = settings.crop_padding
        images = torch.nn.functional.pad(images, (padding,) * 4)
        offsets = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator, device=device)
        rows, columns = rows + offsets[0], columns + offsets[1]
    if settings.flip:
        flipped = torch.rand((count, 1), generator=generator, device=device) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    if not (settings.crop_padding or settings.flip):
        return images
    which = torch.arange(count, device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(inputs: Tensor, length: int, probability: float, generator: torch.Generator) -> Tensor:
    """Zeros in a square centred on a uniformly drawn pixel, clipped at the border (DeVries, Taylor 2017)."""
    if length == 0 or probability == 0:
        return inputs
    count, _, height, width = inputs.shape
    device = inputs.device
    y = torch.randint(0, height, (count, 1), generator=generator, device=device)
    x = torch.randint(0, width, (count, 1), generator=generator, device=device)
    has = torch.rand((count, 1, 1), generator=generator, device=device) < probability
    rows = torch.arange(height, device=device)[None]
    columns = torch.arange(width, device=device)[None]
    low, high = length // 2, length - length // 2
    in_rows = (rows >= y - low) & (rows < y + high)
    in_columns = (columns >= x - low) & (columns < x + high)
    hole = in_rows[:, :, None] & in_columns[:, None, :] & has
    return inputs.masked_fill(hole[:, None], 0)
