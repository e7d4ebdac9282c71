"""The batches of a part of a split, whatever it consists of and wherever it lies."""

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
    """Batches of `part` (weight, alpha, search, validation or test) on `device`, floating as `dtype`.

    Images from memory where they are arrays, streamed where they are files; `augment` None: as they are. Text is cut
    as `text` says (None: its defaults). Raises `DataError` where `augment` asks for what these images do not have
    (the hue of grey ones).
    """
    if isinstance(splits, TextSplits):
        name = f"{splits.source.name}: the {'training' if part == 'search' else part} part"
        return TextBatches(name, getattr(splits, part), device, text or TextSettings())
    kind = ImageStream if isinstance(splits.source, ImageFiles) else ImageBatches
    return kind(splits, part, device, dtype, augment)
