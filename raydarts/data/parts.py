"""The batches of a part of a split, for all kinds of data and places."""

from __future__ import annotations

import torch

from raydarts.data.batches import Batches, ImageBatches
from raydarts.data.files import ImageFiles
from raydarts.data.settings import AugmentSettings, TextSettings
from raydarts.data.splits import AnySplits
from raydarts.data.streaming import ImageStream
from raydarts.data.text_batches import TextBatches
from raydarts.data.text_splits import TextSplits


def batches(
    splits: AnySplits,
    part: str,
    device: torch.device | str,
    dtype: torch.dtype,
    augment: AugmentSettings | None,
    text: TextSettings | None = None,
) -> Batches:
    """Returns batches of `part` (weight, alpha, search, validation or test) on `device`, floating as `dtype`.

    Images in memory come from arrays, images in files are streamed. `augment` None does not change them. Text is cut as
    `text` says (None: its defaults). Raises `DataError` if `augment` needs what the images lack, such as the hue of
    grey ones.
    """
    if isinstance(splits, TextSplits):
        name = f"{splits.source.name}: the {'training' if part == 'search' else part} part"
        return TextBatches(name, getattr(splits, part), device, text or TextSettings())
    kind = ImageStream if isinstance(splits.source, ImageFiles) else ImageBatches
    return kind(splits, part, device, dtype, augment)
