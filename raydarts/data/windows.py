"""Random windows of an image, given by their share of its area (Szegedy et al. 2015, section 6).

The method is that of torchvision's RandomResizedCrop: up to ten draws of a share and of a side ratio, and the first
window that fits. If none fits, it is the largest window in the middle with an allowed ratio.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATIO = (3 / 4, 4 / 3)
TRIES = 10


def draws_of(count: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Returns the uniform numbers in [0, 1) for `count` windows, `(count, TRIES, 4)`."""
    return torch.rand((count, TRIES, 4), generator=generator, device=device)


def windows(draws: Tensor, height: int, width: int, area: tuple[float, float]) -> Tensor:
    """Returns windows `(n, 4)` of images of `height` x `width` pixels: top, left, height, width, int64.

    `area` is [low, high] of the share of the image. `draws` is `draws_of(n)`.
    """
    share, ratio, down, right = draws.unbind(2)
    target = height * width * (area[0] + share * (area[1] - area[0]))
    low, high = (math.log(value) for value in RATIO)
    aspect = torch.exp(low + ratio * (high - low))
    columns, rows = torch.sqrt(target * aspect).round(), torch.sqrt(target / aspect).round()
    fits = (columns >= 1) & (columns <= width) & (rows >= 1) & (rows <= height)
    top = torch.minimum((down * (height - rows + 1)).floor(), height - rows)
    left = torch.minimum((right * (width - columns + 1)).floor(), width - columns)
    tried = torch.stack([top, left, rows, columns], 2).long()
    failed = (fits.cumsum(1) == 0).sum(1)  # tries before the first that fits
    chosen = tried[torch.arange(len(tried), device=tried.device), failed.clamp(max=TRIES - 1)]
    return torch.where((failed < TRIES)[:, None], chosen, torch.tensor(_largest(height, width), device=tried.device))


def _largest(height: int, width: int) -> tuple[int, int, int, int]:
    rows, columns = height, width
    if width / height < RATIO[0]:
        rows = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        columns = round(height * RATIO[1])
    return ((height - rows) // 2, (width - columns) // 2, rows, columns)


def resized(images: Tensor, taken: Tensor) -> Tensor:
    """Returns each image's window, `taken` `(n, 4)`, resized bilinearly to the image's size. uint8 NHWC in and out.

    A window is never larger than the image, so no smoothing is needed.
    """
    top, left, rows, columns = taken.unbind(1)
    values = _stretched(images.float(), top, rows).transpose(1, 2)
    values = _stretched(values, left, columns).transpose(1, 2)
    return values.round().to(torch.uint8).contiguous()


def _stretched(values: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Returns rows `start` to `start + length` of each image, `(n, rows, ...)`, interpolated to all of its rows."""
    count, size = values.shape[:2]
    which = torch.arange(count, device=values.device)[:, None]
    at = (torch.arange(size, device=values.device) + 0.5) * (length / size)[:, None] - 0.5
    at = torch.minimum(at.clamp(min=0), (length - 1)[:, None])
    below = at.floor().long()
    above = torch.minimum(below + 1, (length - 1)[:, None])
    share = (at - below)[:, :, None, None]
    first = start[:, None]
    return values[which, first + below] * (1 - share) + values[which, first + above] * share
