"""Street View House Numbers (cropped digits) through torchvision."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from raydarts.data.base import Size
from raydarts.data.downloaded import Downloaded, Part


class Svhn(Downloaded):
    """SVHN: 73,257 training and 26,032 test colour images of 32x32 pixels, the digits 0 to 9.

    `extra` adds the 531,131 easier images to the training part (1.9 GB in memory). RobustDARTS' code does not use them.
    `root` is the folder of the .mat files. torchvision checks their MD5 sums before it reads them.
    """

    NAME = "svhn"
    SOURCE = "Netzer et al. 2011, through torchvision.datasets.SVHN"
    TITLE = "SVHN"
    UNPACKED = "put the .mat files (format 2, cropped digits)"
    NUM_CLASSES = 10

    class Settings(Downloaded.Settings):
        extra: bool = Field(False, description="Whether the 531,131 extra images are training images too.")

    def published(self) -> Size:
        return Size(73_257 + (531_131 if self.settings.extra else 0), 0, 26_032, 32, 32, 3, 10)

    @property
    def needed(self) -> tuple[str, ...]:
        return tuple(f"{part}_32x32.mat" for part in (*self._training, "test"))

    @property
    def _training(self) -> tuple[str, ...]:
        return ("train", "extra") if self.settings.extra else ("train",)

    def read(self, root: str, download: bool) -> tuple[Part, Part]:
        parts = [self._part(root, part, download) for part in self._training]
        train = (np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts]))
        return train, self._part(root, "test", download)

    @staticmethod
    def _part(root: str, part: str, download: bool) -> Part:
        from torchvision.datasets import SVHN  # noqa: PLC0415 - it takes seconds, as it loads torch's compiler

        source = SVHN(root, split=part, download=download)
        return np.ascontiguousarray(source.data.transpose(0, 2, 3, 1)), source.labels
