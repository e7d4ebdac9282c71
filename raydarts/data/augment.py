"""Crop, flip and cutout of a whole batch at once, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from raydarts.data.settings import AugmentSettings


def crop_and_flip(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Random crop out of the zero-padded image, then a flip with probability 1/2; NHWC in and out."""
    count, height, width, channels = images.shape
    device, padding = images.device, settings.crop_padding
    rows = torch.arange(height, device=device).expand(count, height)
    columns = torch.arange(width, device=device).expand(count, width)
    if padding:
        images = torch.nn.functional.pad(images, (0, 0, *(padding,) * 4))
        offsets = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator, device=device)
        rows, columns = rows + offsets[0], columns + offsets[1]
    if settings.flip:
        flipped = torch.rand((count, 1), generator=generator, device=device) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    if not (padding or settings.flip):
        return images
    # Pixels numbered through the whole batch: one flat gather is faster than three indices.
    first = torch.arange(count, device=device)[:, None] * (height + 2 * padding)
    pixels = ((first + rows) * (width + 2 * padding))[:, :, None] + columns[:, None, :]
    return images.reshape(-1, channels).index_select(0, pixels.flatten()).view(count, height, width, channels)


def cut_out_(values: Tensor, length: int, probability: float, generator: torch.Generator) -> None:
    """Zeros, in place, in a square centred on a uniformly drawn pixel, clipped at the border (DeVries, Taylor 2017).

    `values` NHWC, contiguous, floating. At length or probability 0 nothing is drawn.
    """
    if length == 0 or probability == 0:
        return
    count, height, width, channels = values.shape
    device = values.device
    y = torch.randint(0, height, (count, 1), generator=generator, device=device)
    x = torch.randint(0, width, (count, 1), generator=generator, device=device)
    has = torch.rand((count, 1, 1), generator=generator, device=device)[..., 0] < probability
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device).repeat_interleave(channels)
    low, high = length // 2, length - length // 2
    in_rows = ((rows >= y - low) & (rows < y + high) & has).to(values.dtype)
    in_columns = ((columns >= x - low) & (columns < x + high)).to(values.dtype)
    # A product of floats: masks of booleans cost several times as much on a CPU.
    values.view(count, height, width * channels).mul_(1 - in_rows[:, :, None] * in_columns[:, None, :])
