"""The batches of a part of a split, wherever its images lie."""

from __future__ import annotations

import torch

from raydarts.data.batches import Batches, ImageBatches
from raydarts.data.files import ImageFiles
from raydarts.data.settings import AugmentSettings
from raydarts.data.splits import Splits
from raydarts.data.streaming import ImageStream


def batches(
    splits: Splits, part: str, device: torch.device | str, dtype: torch.dtype, augment: AugmentSettings | None
) -> Batches:
    """Batches of `part` (weight, alpha, search, validation or test) on `device`, floating as `dtype`.

    From memory where the images are arrays, streamed where they are files. `augment` None: as they are.
    Raises `DataError` where `augment` asks for what these images do not have (the hue of grey ones).
    """
    kind = ImageStream if isinstance(splits.source, ImageFiles) else ImageBatches
    return kind(splits, part, device, dtype, augment)
