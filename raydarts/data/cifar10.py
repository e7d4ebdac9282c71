"""CIFAR-10 through torchvision."""

from __future__ import annotations

from raydarts.data.base import Size
from raydarts.data.downloaded import Downloaded, Part, cifar

FOLDER = "cifar-10-batches-py"


class Cifar10(Downloaded):
    """CIFAR-10: 50,000 training and 10,000 test colour images of 32x32 pixels, 10 classes.

    `root` is the folder of `cifar-10-batches-py`. torchvision checks the files' MD5 sums before it reads them.
    """

    NAME = "cifar10"
    SOURCE = "Krizhevsky 2009, through torchvision.datasets.CIFAR10"
    TITLE = "CIFAR-10"
    UNPACKED = "unpack cifar-10-python.tar.gz"
    NUM_CLASSES = 10

    def published(self) -> Size:
        return Size(50_000, 0, 10_000, 32, 32, 3, 10)

    @property
    def needed(self) -> tuple[str, ...]:
        return (FOLDER,)

    def read(self, root: str, download: bool) -> tuple[Part, Part]:
        from torchvision.datasets import CIFAR10  # noqa: PLC0415 - it takes seconds, as it loads torch's compiler

        return cifar(CIFAR10, root, download)
