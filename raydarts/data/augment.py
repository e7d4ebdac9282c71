"""Crop, flip and cutout of a whole batch at once, on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from raydarts.data.settings import AugmentSettings
from raydarts.streams import WHOLE, Share


def crop_and_flip(
    images: Tensor, settings: AugmentSettings, generator: torch.Generator, share: Share = WHOLE
) -> Tensor:
    """Takes a random crop of the zero-padded image, then mirrors it with probability 1/2. NHWC in and out.

    `images` are the `share` of a batch. Random numbers are drawn for the whole batch.
    """
    count, height, width, channels = images.shape
    drawn = share.whole(count)
    device, padding = images.device, settings.crop_padding
    rows = torch.arange(height, device=device).expand(count, height)
    columns = torch.arange(width, device=device).expand(count, width)
    if padding:
        images = torch.nn.functional.pad(images, (0, 0, *(padding,) * 4))
        offsets = share.of(torch.randint(0, 2 * padding + 1, (2, drawn, 1), generator=generator, device=device), 1)
        rows, columns = rows + offsets[0], columns + offsets[1]
    if settings.flip:
        flipped = share.of(torch.rand((drawn, 1), generator=generator, device=device)) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    if not (padding or settings.flip):
        return images
    # Pixels numbered through the whole batch: one flat gather is faster than three indices.
    first = torch.arange(count, device=device)[:, None] * (height + 2 * padding)
    pixels = ((first + rows) * (width + 2 * padding))[:, :, None] + columns[:, None, :]
    return images.reshape(-1, channels).index_select(0, pixels.flatten()).view(count, height, width, channels)


def cut_out_(values: Tensor, length: int, probability: float, generator: torch.Generator, share: Share = WHOLE) -> None:
    """Sets a square to zero, in place. Its centre is a uniformly drawn pixel. The border clips it (DeVries, Taylor
    2017).

    `values` is NHWC, contiguous and floating: the `share` of a batch. At length or probability 0 nothing is drawn.
    """
    if length == 0 or probability == 0:
        return
    count, height, width, channels = values.shape
    device = values.device
    drawn = (share.whole(count), 1)
    y = share.of(torch.randint(0, height, drawn, generator=generator, device=device))
    x = share.of(torch.randint(0, width, drawn, generator=generator, device=device))
    has = share.of(torch.rand(drawn, generator=generator, device=device)) < probability
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device).repeat_interleave(channels)
    low, high = length // 2, length - length // 2
    in_rows = ((rows >= y - low) & (rows < y + high) & has).to(values.dtype)
    in_columns = ((columns >= x - low) & (columns < x + high)).to(values.dtype)
    # A product of floats: masks of booleans cost several times as much on a CPU.
    values.view(count, height, width * channels).mul_(1 - in_rows[:, :, None] * in_columns[:, None, :])
