"""CIFAR-10 through torchvision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

from raydarts import registry
from raydarts.data.base import Dataset, ImageArrays
from raydarts.errors import DataError

FOLDER = "cifar-10-batches-py"


class Cifar10(Dataset):
    """CIFAR-10: 50,000 training and 10,000 test colour images of 32x32 pixels, 10 classes.

    `root` is the folder that holds (or will hold) `cifar-10-batches-py`; torchvision checks the files
    against their known MD5 sums before it reads them.
    """

    NAME = "cifar10"
    SOURCE = "Krizhevsky 2009, through torchvision.datasets.CIFAR10"

    class Settings(registry.Settings):
        root: str = "data"
        download: bool = True

    def check(self) -> None:
        root = Path(self.settings.root)
        if not self.settings.download and not (root / FOLDER).is_dir():
            raise DataError(
                f"{root / FOLDER}: there is no such folder; "
                f"unpack cifar-10-python.tar.gz in {root}, or set download: true"
            )

    def load(self) -> ImageArrays:
        self.check()
        root = self.settings.root
        try:
            train, test = (CIFAR10(root, train=train, download=self.settings.download) for train in (True, False))
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"CIFAR-10 cannot be had in {root}: {error}; put the unpacked {FOLDER} there and set download: false, "
                "or use data.dataset npz with arrays of your own"
            ) from error
        train_labels, test_labels = (np.asarray(part.targets, dtype=np.int64) for part in (train, test))
        return ImageArrays.of("cifar10", train.data, train_labels, test.data, test_labels, 10)
